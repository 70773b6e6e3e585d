import Glibc
import SystemCalls

/// Other programs of the machine, run for what they do.
package enum Program {
    private static let directories = ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"]

    /// Its exit status; 127 where it is not installed, 128 where a signal ended it. Its output goes nowhere.
    package static func run(_ name: String, _ arguments: [String]) -> Int32 {
        guard let path = directories.lazy.map({ $0 + name }).first(where: File.exists) else { return 127 }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for descriptor: Int32 in 0...2 {
            posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
        }
        var argv = ([path] + arguments).map { strdup($0) } + [nil]
        defer { argv.forEach { free($0) } }
        var process: pid_t = 0
        guard posix_spawn(&process, path, &actions, nil, &argv, environ) == 0 else { return 127 }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0 {
            if errno != EINTR { return 127 }
        }
        return status & 0x7F == 0 ? status >> 8 & 0xFF : 128
    }
}
