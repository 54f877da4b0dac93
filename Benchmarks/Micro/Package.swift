// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
import PackageDescription

let package = Package(
    name: "micro",
    platforms: [.macOS(.v15)],
    dependencies: [
        // Without traits: they replace malloc and the runtime's own calls, which is not what is measured here.
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: [])
    ],
    targets: [
        // A link to the library's sources: the machines and the codec are `package`, and so seen from here.
        .target(
            name: "TableflipCore",
            swiftSettings: [
                .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
            ]
        ),
        .executableTarget(
            name: "Core",
            dependencies: ["TableflipCore", .product(name: "Benchmark", package: "benchmark")],
            path: "Benchmarks/Core",
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]
        ),
    ],
    swiftLanguageModes: [.v6]
)
