import BPF
import CLibBPF
import Glibc

/// The director of another BPF object file, on the maps that are pinned below a directory.
final class OtherDirector {
    let descriptor: Int32
    private let object: OpaquePointer

    init(file: String, pins directory: String) throws(BPFError) {
        guard let object = bpf_object__open_file(file, nil) else { throw BPFError("open \(file)", code: errno) }
        self.object = object
        var map = bpf_object__next_map(object, nil)
        while let current = map {
            let path = "\(directory)/\(String(cString: bpf_map__name(current)))"
            if !bpf_map__is_internal(current), let pinned = try BPFDescriptor(pinnedAt: path) {
                let code = bpf_map__reuse_fd(current, pinned.number)
                if code != 0 { throw BPFError("share \(path)", code: -code) }
            }
            map = bpf_object__next_map(object, current)
        }
        let code = bpf_object__load(object)
        if code != 0 { throw BPFError("load \(file)", code: -code) }
        guard let program = bpf_object__find_program_by_name(object, "director") else {
            throw BPFError("find program director in \(file)", code: ENOENT)
        }
        descriptor = bpf_program__fd(program)
    }

    deinit { bpf_object__close(object) }
}
