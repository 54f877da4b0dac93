// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser

/// The demonstration, and the server that anyone can drive.
@main
struct Demo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tableflip-demo",
        abstract: "Replaces a HTTP server under load, again and again, and counts what was lost.",
        subcommands: [Flip.self, Serve.self, Load.self],
        defaultSubcommand: Flip.self
    )
}
#else
/// Without the NIO trait there is no server to show.
@main
struct Demo {
    static func main() { print("tableflip-demo was built without the package trait NIO, which it needs.") }
}
#endif  // NIO
