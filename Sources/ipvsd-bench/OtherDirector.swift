import BPF
import CLibBPF
import Glibc

/// The director of another BPF object file, with the maps that are pinned below a directory and the constants of a
/// loaded director.
final class OtherDirector {
    let descriptor: Int32
    private let object: OpaquePointer

    init(file: String, pins directory: String, constantsOf loaded: BPFProgram) throws {
        guard let object = bpf_object__open_file(file, nil) else { throw BPFError("open \(file)", code: errno) }
        self.object = object
        var map = bpf_object__next_map(object, nil)
        while let current = map {
            // A variable that is a map of its own is in the section .data.NAME, and pinned as NAME. The sections of all
            // other variables and constants are an object's own.
            let name = String(cString: bpf_map__name(current))
            let isVariable = name.hasPrefix(".data.")
            let path = "\(directory)/\(isVariable ? String(name.dropFirst(6)) : name)"
            if isVariable || !bpf_map__is_internal(current), let pinned = try BPFDescriptor(pinnedAt: path) {
                let code = bpf_map__reuse_fd(current, pinned.number)
                if code != 0 { throw BPFError("share \(path)", code: -code) }
            }
            map = bpf_object__next_map(object, current)
        }
        let constants = try loaded.readOnlyData()
        if let map = bpf_object__find_map_by_name(object, ".rodata") {
            // The other one may have fewer.
            let code = bpf_map__set_initial_value(
                map, constants, min(constants.count, Int(bpf_map__value_size(map))))
            if code != 0 { throw BPFError("set constants of \(file)", code: -code) }
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
