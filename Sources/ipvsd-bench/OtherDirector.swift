import BPF
import CLibBPF
import Glibc
import XDPDataPlane

/// The director's program of another BPF object file. It uses the maps that are pinned below a directory, and the
/// constants of a loaded director.
final class OtherDirector {
    let descriptor: Int32
    private let object: OpaquePointer

    init(file: String, pins directory: String, constantsOf loaded: BPFProgram) throws {
        guard let object = bpf_object__open_file(file, nil) else { throw BPFError("open \(file)", code: errno) }
        self.object = object
        var maps: [(name: String, map: OpaquePointer)] = []
        while let map = bpf_object__next_map(object, maps.last?.map) {
            maps.append((String(cString: bpf_map__name(map)), map))
        }
        let names = Set(maps.map(\.name))
        for (name, map) in maps {
            // A variable that is a map of its own is in the section .data.NAME. The sections of all other variables and
            // constants are not shared between objects.
            let isVariable = name.hasPrefix(".data.")
            let path = SharedMap.pin(of: isVariable ? String(name.dropFirst(6)) : name, among: names, below: directory)
            if isVariable || !bpf_map__is_internal(map), let pinned = try BPFDescriptor(pinnedAt: path) {
                let code = bpf_map__reuse_fd(map, pinned.number)
                if code != 0 { throw BPFError("share \(path)", code: -code) }
            }
        }
        let constants = try loaded.readOnlyData()
        if let map = bpf_object__find_map_by_name(object, ".rodata") {
            // The other object may have fewer constants.
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
