// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser
import Foundation

/// The demonstration.
struct Flip: AsyncParsableCommand {
    enum ClientKind: String, ExpressibleByArgument, CaseIterable {
        case builtin
        case wrk
    }

    enum Sabotage: String, ExpressibleByArgument, CaseIterable {
        /// The server is ended in the middle: requests are lost.
        case kill
        /// Every successor crashes: upgrades do not happen.
        case crash
    }

    static let configuration = CommandConfiguration(
        commandName: "flip",
        abstract: "Starts a server and a load, replaces the server several times, and counts.",
        discussion: "Exits with 1 if a request was lost, or anything that should have happened did not."
    )

    @Flag(help: "Write one JSON object a line; the last one is the summary.")
    var json = false

    @Option(help: "How many times to replace the server.")
    var upgrades = 5

    @Option(help: "How many clients with a new connection for each request, and how many beside that keep theirs.")
    var clients = 8

    @Option(help: "How long each generation serves before the next upgrade, such as 300ms or 2s.")
    var interval = DurationArgument(.milliseconds(400))

    @Option(
        help: "Who makes the load: builtin, or wrk (Debian: apt-get install wrk), with which no successor is killed.")
    var client = ClientKind.builtin

    @Option(help: .init("Break it on purpose, to see that it is noticed: kill, crash.", visibility: .hidden))
    var sabotage: Sabotage?

    func validate() throws {
        guard (1...1000).contains(self.upgrades) else { throw ValidationError("--upgrades takes 1 to 1000") }
        guard (1...512).contains(self.clients) else { throw ValidationError("--clients takes 1 to 512") }
    }

    func run() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tableflip-demo-\(getpid())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }  // a folder in /tmp that stays does no harm
        let play = try Play(self, folder: folder)
        let summary = try await play.run()
        if !summary.isGood { throw ExitCode(1) }
    }
}
#endif  // NIO
