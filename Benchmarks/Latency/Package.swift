// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
import PackageDescription

/// A program that needs no dynamic linker: see "Ship it" in the project's README, which has the same flags for the command
/// line.
let isSelfContained: [LinkerSetting] = [
    .unsafeFlags(
        [
            "-static-executable", "-Xlinker", "--eh-frame-hdr",
            "-Xlinker", "--wrap=__register_frame_info", "-Xlinker", "--wrap=__deregister_frame_info",
        ], .when(platforms: [.linux]))
]

let package = Package(
    name: "latency",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "swift-tableflip", path: "../..", traits: ["NIO"]),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .executableTarget(
            name: "latency-server",
            dependencies: [
                .product(name: "Tableflip", package: "swift-tableflip"),
                .product(name: "TableflipNIO", package: "swift-tableflip"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            path: "swift-server",
            linkerSettings: isSelfContained
        )
    ],
    swiftLanguageModes: [.v6]
)
