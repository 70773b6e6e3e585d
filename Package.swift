// swift-tools-version: 6.2
import PackageDescription

var swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]
if Context.environment["CI"] != nil { swiftSettings.append(.treatAllWarnings(as: .error)) }

/// The libraries of the protocols that health checks and their tests use.
let protocols: [Target.Dependency] = [
    .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOHPACK", package: "swift-nio-http2"),
    .product(name: "NIOHTTP2", package: "swift-nio-http2"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOSSL", package: "swift-nio-ssl"),
    .product(name: "NIOTLS", package: "swift-nio"),
]

/// Sources/ is a one-way street: every target depends only on targets further down this list.
let package = Package(
    name: "ipvsd",
    products: [
        .executable(name: "ipvsd", targets: ["ipvsd"]),
        .executable(name: "ipvsd-bench", targets: ["ipvsd-bench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections.git", exact: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2.git", exact: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", exact: "2.37.6"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", exact: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", exact: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams.git", exact: "6.2.2"),
    ],
    targets: [
        .executableTarget(
            name: "ipvsd",
            dependencies: [
                "Addresses", "BPF", "CLinux", "Capture", "ConfigurationImport", "Control", "DataPlane", "Director",
                "Doctor", "HostState", "LoadBalancing", "Netlink", "RealServerSetup", "ServiceConfiguration",
                "SystemCalls", "TunnelSetup", "XDPDataPlane",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            exclude: ["Packaging"], swiftSettings: swiftSettings),
        .executableTarget(
            name: "ipvsd-bench",
            dependencies: [
                "Addresses", "BPF", "CLibBPF", "CLinux", "Capture", "DataPlane", "LoadBalancing", "Netlink", "Packets",
                "Processes", "ServiceConfiguration", "SystemCalls", "XDPDataPlane",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            exclude: ["BPF"], swiftSettings: swiftSettings, plugins: ["EmbedBPF"]),
        .target(
            name: "Control",
            dependencies: [
                "Addresses", "Director", "HealthChecks", "LoadBalancing",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "Director",
            dependencies: [
                "Addresses", "CLinux", "DataPlane", "HealthChecks", "HostState", "LoadBalancing", "Netlink",
                "ServiceConfiguration", "SystemCalls",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "Capture",
            dependencies: [
                "Addresses", "BPF", "CLinux", "DataPlane", "LoadBalancing", "PacketPrograms", "Packets", "SystemCalls",
                "XDPDataPlane",
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "ConfigurationImport",
            dependencies: ["Addresses", "HealthChecks", "LoadBalancing", "ServiceConfiguration"],
            swiftSettings: swiftSettings),
        .target(
            name: "ServiceConfiguration",
            dependencies: ["Addresses", "HealthChecks", "LoadBalancing", .product(name: "Yams", package: "Yams")],
            swiftSettings: swiftSettings),
        .target(
            name: "HealthChecks",
            dependencies: [
                "Addresses", "CLibPCRE2", "CLinux", "LoadBalancing", "Packets", "Processes",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HeapModule", package: "swift-collections"),
            ] + protocols,
            swiftSettings: swiftSettings),
        .target(
            name: "XDPDataPlane",
            dependencies: [
                "Addresses", "BPF", "CLinux", "DataPlane", "HostState", "LoadBalancing", "Netlink", "PacketPrograms",
                "SystemCalls",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "DataPlane", dependencies: ["Addresses", "LoadBalancing", "Netlink"], swiftSettings: swiftSettings),
        .target(
            name: "Doctor",
            dependencies: [
                "Addresses", "BPF", "CLinux", "HostState", "Netlink", "RealServerSetup", "ServiceConfiguration",
                "SystemCalls",
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "RealServerSetup",
            dependencies: ["Addresses", "BPF", "CLinux", "HostState", "Netlink", "SystemCalls"],
            swiftSettings: swiftSettings),
        .target(
            name: "TunnelSetup", dependencies: ["Addresses", "HostState", "Netlink", "SystemCalls"],
            swiftSettings: swiftSettings),
        .target(
            name: "HostState",
            dependencies: [
                "Addresses", "BPF", "CLinux", "Netlink", "Processes", "SystemCalls",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "Netlink", dependencies: ["Addresses", "CLibMNL", "SystemCalls"], swiftSettings: swiftSettings),
        .target(name: "Packets", dependencies: ["Addresses", "CLinux"], swiftSettings: swiftSettings),
        .target(name: "LoadBalancing", dependencies: ["Addresses", "PacketPrograms"], swiftSettings: swiftSettings),

        // libbpf, and the programs that the plugin compiles out of PacketPrograms and embeds.
        .target(
            name: "BPF", dependencies: ["CLibBPF", "CLinux", "PacketPrograms", "SystemCalls"],
            swiftSettings: swiftSettings, plugins: ["EmbedBPF"]),
        .target(name: "Processes", dependencies: ["CLinux", "SystemCalls"], swiftSettings: swiftSettings),
        .target(name: "Addresses", swiftSettings: swiftSettings),
        .target(name: "SystemCalls", swiftSettings: swiftSettings),
        .target(name: "PacketPrograms", exclude: ["BPF"]),
        .target(name: "CLinux"),
        .systemLibrary(name: "CLibBPF", pkgConfig: "libbpf", providers: [.apt(["libbpf-dev"])]),
        .systemLibrary(name: "CLibMNL", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .systemLibrary(name: "CLibPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),

        // Helpers of several test targets.
        .target(
            name: "TestSupport", dependencies: ["Addresses", "LoadBalancing", "PacketPrograms"],
            path: "Tests/TestSupport", swiftSettings: swiftSettings),
        // A data plane of commit 77b5f52, over which today's starts.
        .target(
            name: "Layout3", dependencies: ["BPF", "PacketPrograms", "SystemCalls"], path: "Tests/Fixtures/layout-3",
            exclude: ["BPF", "programs"], swiftSettings: swiftSettings, plugins: ["EmbedBPF"]),
        .testTarget(name: "AddressesTests", dependencies: ["Addresses"], swiftSettings: swiftSettings),
        .executableTarget(
            name: "layout-3-writer", dependencies: ["BPF", "Layout3"], path: "Tests/Layout3Writer",
            swiftSettings: swiftSettings),
        .testTarget(
            name: "LoadBalancingTests", dependencies: ["Addresses", "LoadBalancing", "TestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "ServiceConfigurationTests",
            dependencies: [
                "Addresses", "HealthChecks", "LoadBalancing", "ServiceConfiguration", "TestSupport",
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "ConfigurationImportTests",
            dependencies: [
                "Addresses", "ConfigurationImport", "HealthChecks", "LoadBalancing", "ServiceConfiguration",
                "TestSupport",
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "PacketsTests", dependencies: ["Addresses", "Packets"], swiftSettings: swiftSettings),
        .testTarget(
            name: "XDPDataPlaneTests",
            dependencies: [
                "Addresses", "BPF", "CLibBPF", "CLinux", "DataPlane", "Layout3", "LoadBalancing", "Netlink",
                "PacketPrograms", "TestSupport", "XDPDataPlane",
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "HealthChecksTests",
            dependencies: ["Addresses", "CLinux", "HealthChecks", "LoadBalancing", "Processes", "TestSupport"]
                + protocols,
            swiftSettings: swiftSettings),
        .testTarget(
            name: "ProcessesTests", dependencies: ["Processes", "SystemCalls"], swiftSettings: swiftSettings),
        .testTarget(
            name: "RealServerSetupTests",
            dependencies: ["Addresses", "BPF", "CLinux", "HostState", "Netlink", "RealServerSetup", "SystemCalls"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TunnelSetupTests", dependencies: ["Addresses", "CLinux", "HostState", "Netlink", "TunnelSetup"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "DoctorTests", dependencies: ["Addresses", "Doctor", "Netlink", "RealServerSetup"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "DirectorTests",
            dependencies: [
                "Addresses", "DataPlane", "Director", "HealthChecks", "HostState", "LoadBalancing", "Netlink",
                "ServiceConfiguration", "TestSupport", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CaptureTests",
            dependencies: ["Addresses", "Capture", "DataPlane", "LoadBalancing", "PacketPrograms", "XDPDataPlane"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "ControlTests",
            dependencies: [
                "Addresses", "Control", "DataPlane", "Director", "HealthChecks", "HostState", "LoadBalancing",
                "Netlink", "ServiceConfiguration",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ], swiftSettings: swiftSettings),
        // Compares names that users type and parse with the files in Snapshots.
        .testTarget(
            name: "ContractTests",
            dependencies: [
                "Addresses", "BPF", "Capture", "ConfigurationImport", "Control", "DataPlane", "Director", "Doctor",
                "HealthChecks", "HostState", "LoadBalancing", "Netlink", "RealServerSetup", "ServiceConfiguration",
                "TestSupport", "TunnelSetup", "XDPDataPlane", "ipvsd",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Yams", package: "Yams"),
            ], exclude: ["Fixtures", "Snapshots"], swiftSettings: swiftSettings),
        .testTarget(
            name: "NetlinkTests", dependencies: ["Addresses", "CLinux", "Netlink", "SystemCalls"],
            swiftSettings: swiftSettings),

        .plugin(
            name: "EmbedBPF", capability: .buildTool(), dependencies: ["bpf-embed"], path: "Sources/EmbedBPF"),
        .executableTarget(name: "bpf-embed"),
    ]
)

// For `swift package generate-documentation --target ipvsd` alone, so that no user fetches it.
if Context.environment["IPVSD_DOCUMENTATION"] != nil {
    package.dependencies.append(.package(url: "https://github.com/swiftlang/swift-docc-plugin.git", exact: "1.5.0"))
}
