// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
import PackageDescription

let library: [Target.Dependency] = [
    .product(name: "Tableflip", package: "swift-tableflip"), .product(name: "Logging", package: "swift-log"),
]
let nio: [Target.Dependency] =
    library + [
        .product(name: "TableflipNIO", package: "swift-tableflip"), .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
    ]

let package = Package(
    name: "swift-tableflip-examples",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "tcp-echo", targets: ["tcp-echo"]),
        .executable(name: "udp-echo", targets: ["udp-echo"]),
        .executable(name: "http-async", targets: ["http-async"]),
        .executable(name: "websocket-chat", targets: ["websocket-chat"]),
        .executable(name: "owner-worker", targets: ["owner-worker"]),
        .executable(name: "tls-http2", targets: ["tls-http2"]),
    ],
    dependencies: [
        .package(name: "swift-tableflip", path: ".."),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    ],
    targets: [
        // The library alone: a thread that polls.
        .executableTarget(name: "tcp-echo", dependencies: library),
        // Work that only one process may do.
        .executableTarget(name: "owner-worker", dependencies: library),
        // On SwiftNIO: datagrams, and connections that move.
        .executableTarget(name: "udp-echo", dependencies: nio),
        .executableTarget(name: "http-async", dependencies: nio + [.product(name: "NIOHTTP1", package: "swift-nio")]),
        .executableTarget(
            name: "websocket-chat",
            dependencies: nio + [
                .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOWebSocket", package: "swift-nio"),
            ]
        ),
        // Connections that cannot move, because their keys cannot: they are brought to their end.
        .executableTarget(
            name: "tls-http2",
            dependencies: nio + [
                .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOHTTP2", package: "swift-nio-http2"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)

for target in package.targets {
    target.swiftSettings = [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
    ]
}
