// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
import PackageDescription

let package = Package(
    name: "swift-tableflip",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "Tableflip", targets: ["Tableflip"]),
        .library(name: "TableflipNIO", targets: ["TableflipNIO"]),
        .library(name: "TableflipServiceLifecycle", targets: ["TableflipServiceLifecycle"]),
        .library(name: "TableflipTesting", targets: ["TableflipTesting"]),
        .executable(name: "tableflip-demo", targets: ["tableflip-demo"]),
        .executable(name: "tableflip-run", targets: ["tableflip-run"]),
        .executable(name: "tableflipctl", targets: ["tableflipctl"]),
    ],
    traits: [
        .trait(name: "NIO", description: "The SwiftNIO adapter `TableflipNIO`, and the demo that is built on it."),
        .trait(
            name: "ServiceLifecycle",
            description: "`TableflipServiceLifecycle`: the upgrader as a service of swift-service-lifecycle."
        ),
        .default(enabledTraits: ["NIO", "ServiceLifecycle"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/ordo-one/TextTable", from: "0.0.2"),
    ],
    targets: [
        // MARK: The library, from the bottom up. Arrows point downward only.

        // What Swift cannot say: posix_spawn file actions, CMSG macros, signal handlers. Policy-free.
        .target(name: "CTableflip"),
        // Pure values: the two machines, the codec, names. Depends on the standard library alone.
        .target(name: "TableflipCore"),
        // The verbs of the operating system, with owned descriptors. No policy.
        .target(name: "TableflipSystem", dependencies: ["CTableflip", "TableflipCore"]),
        // The public library: the upgrader and its engine.
        .target(
            name: "Tableflip",
            dependencies: [
                "CTableflip", "TableflipCore", "TableflipSystem", .product(name: "Logging", package: "swift-log"),
                // Not `Metrics`: that one imports Foundation.
                .product(name: "CoreMetrics", package: "swift-metrics"),
            ]
        ),

        // MARK: Adapters

        .target(
            name: "TableflipNIO",
            dependencies: [
                "Tableflip", "TableflipSystem",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOWebSocket", package: "swift-nio", condition: .when(traits: ["NIO"])),
            ]
        ),

        .target(
            name: "TableflipServiceLifecycle",
            dependencies: [
                "Tableflip",
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])
                ),
            ]
        ),

        // An upgrader for users' unit tests: the true engine, and successors that are played.
        .target(
            name: "TableflipTesting",
            dependencies: [
                "CTableflip", "Tableflip", "TableflipCore", "TableflipSystem",
                .product(name: "Logging", package: "swift-log"),
            ]
        ),

        // MARK: Programs

        .executableTarget(
            name: "tableflip-demo",
            dependencies: [
                "Tableflip",
                "TableflipNIO",
                "TableflipSystem",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ArgumentParser", package: "swift-argument-parser", condition: .when(traits: ["NIO"])),
                .product(name: "TextTable", package: "TextTable", condition: .when(traits: ["NIO"])),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOWebSocket", package: "swift-nio", condition: .when(traits: ["NIO"])),
            ]
        ),
        // The process that stays, for containers. Small: it is resident for as long as the service is.
        .executableTarget(name: "tableflip-run", dependencies: ["CTableflip", "TableflipCore", "TableflipSystem"]),
        // Asks a service for upgrades, by its control socket.
        .executableTarget(
            name: "tableflipctl",
            dependencies: [
                "TableflipCore", "TableflipSystem",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]
        ),
        // A plain-socket server whose successors misbehave on request: what the process tests drive.
        .executableTarget(
            name: "tableflip-probe",
            dependencies: [
                "CTableflip", "Tableflip", "TableflipCore", "TableflipSystem",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/Programs/tableflip-probe"
        ),
        // The same of services. A program of its own, because the probe is also the one that shows that no Foundation is
        // loaded.
        .executableTarget(
            name: "tableflip-service-probe",
            dependencies: [
                "CTableflip", "Tableflip", "TableflipServiceLifecycle", "TableflipSystem",
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])
                ),
            ],
            path: "Tests/Programs/tableflip-service-probe"
        ),

        // Feeds the decoder and the channel with frames, and what once were frames; see Scripts/fuzz.sh.
        .executableTarget(
            name: "tableflip-fuzz", dependencies: ["CTableflip", "TableflipCore", "TableflipSystem"],
            path: "Tests/Programs/tableflip-fuzz"
        ),
        // A datagram server on NIO, driven as the probe is.
        .executableTarget(
            name: "tableflip-datagrams",
            dependencies: [
                "Tableflip",
                "TableflipNIO",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["NIO"])),
            ],
            path: "Tests/Programs/tableflip-datagrams"
        ),

        // MARK: Tests

        // Explores every interleaving of the two machines. Also compiled by the mutation test on its own.
        .target(name: "HandshakeExplorer", dependencies: ["TableflipCore"], path: "Tests/HandshakeExplorer"),
        .testTarget(
            name: "TableflipCoreTests", dependencies: ["TableflipCore", "HandshakeExplorer"],
            exclude: ["Fixtures"]  // read by their path: they are not part of the test bundle
        ),
        .testTarget(name: "TableflipSystemTests", dependencies: ["TableflipSystem", "TableflipCore", "CTableflip"]),
        .testTarget(
            name: "TableflipTests",
            dependencies: [
                "CTableflip", "Tableflip", "TableflipSystem", "TableflipCore", "TableflipTesting",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ]
        ),
        .testTarget(
            name: "TableflipNIOTests",
            dependencies: [
                "Tableflip", "TableflipNIO", "TableflipTesting",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOEmbedded", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["NIO"])),
            ]
        ),
        .testTarget(
            name: "TableflipServiceLifecycleTests",
            dependencies: [
                "Tableflip", "TableflipServiceLifecycle", "TableflipTesting",
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])
                ),
            ]
        ),
        // Starting processes, for the tests that do.
        .target(name: "ProcessSupport", path: "Tests/ProcessSupport"),
        .testTarget(
            name: "ProcessTests",
            dependencies: [
                "ProcessSupport", "Tableflip", "TableflipCore", "tableflip-datagrams", "tableflip-demo",
                "tableflip-probe",
                "tableflip-service-probe", "tableflipctl",
            ]
        ),
        .testTarget(name: "LiveTests", dependencies: ["ProcessSupport", "tableflip-demo"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu11
)

for target in package.targets {
    var settings = target.swiftSettings ?? []
    settings += [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
    ]
    target.swiftSettings = settings
}
