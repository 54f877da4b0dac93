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
    name: "benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        // Without traits: no SwiftNIO is built, as in a server on plain sockets.
        .package(name: "swift-tableflip", path: "..", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        .executableTarget(
            name: "handover-server",
            dependencies: [
                .product(name: "Tableflip", package: "swift-tableflip"),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "HandoverCost/swift-server",
            linkerSettings: isSelfContained
        )
    ],
    swiftLanguageModes: [.v6]
)
