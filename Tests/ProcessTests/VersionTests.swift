// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// Two releases of the library, which speak different versions of the handshake. The bytes of a later version are not
/// known yet: what differs is what each says that it speaks, and messages that the other one does not know.
@Suite(.fewAtATime)
struct VersionTests {
    private static let unknown = Frame.hex(200, [1, 2, 3], flags: 1)

    /// A service of the release that speaks version 1, whose successors are of the release in the file `release`.
    private func withReleases(_ variant: Variant, _ body: (Server) async throws -> Void) async throws {
        let arguments = ["--versions", "1-1", "--executable", "PROGRAM"]
        let start = Server.Start(
            arguments: arguments.map { Array($0.utf8) },
            prepare: { directory in
                let release = directory.path + "/release"
                try Script.write(
                    "exec \"\(Server.probe.path)\" \"$@\" --versions $(cat \"\(release)\")",
                    to: directory.appending(path: "PROGRAM")
                )
            }
        )
        try await Server.with(variant, start, body)
    }

    /// The predecessor says it, before the inventory.
    private func say(_ word: String, _ server: Server) throws {
        let file = server.directory.appending(path: "FAULTS").appending(path: "predecessor offerInventory")
        try Data(word.utf8).write(to: file, options: .atomic)
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `A newer predecessor says what an older successor does not know`(_ variant: Variant) async throws {
        let start = Server.Start(
            arguments: ["--faults", "FAULTS"].map { Array($0.utf8) },
            prepare: { home in
                try FileManager.default.createDirectory(
                    at: home.appending(path: "FAULTS"), withIntermediateDirectories: true)
            }
        )
        try await Server.with(variant, start) { server in
            try self.say("say-optional", server)
            try await server.replace()
            try await server.unharmed {
                try self.say("say-required", server)
                let mark = server.mark
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
                let words = try await server.line(of: server.current, from: mark, startingWith: "words ").words
                #expect(words.contains("a required message of the unknown kind 200"), "\(words)")
            }
        }
    }

    private func install(_ versions: String, _ server: Server) throws {
        try Data(versions.utf8).write(to: server.directory.appending(path: "release"), options: .atomic)
    }

    @Test(arguments: [Variant.plain, .portableReader], ["say", "late-say"])
    func `A service goes from an older release to a newer one and back`(
        _ variant: Variant, _ moment: String
    ) async throws {
        try await self.withReleases(variant) { server in
            for versions in ["1-3", "1-1", "1-2", "2-3", "1-2", "1-1"] {
                try self.install(versions, server)
                // The newer ones also say something that may be passed over.
                try server.misbehave(versions == "1-1" ? "" : "\(moment) \(Self.unknown)")
                try await server.replace()
            }
        }
    }

    @Test(arguments: [Variant.plain, .portableReader], ["2-3", "4-4"])
    func `Two releases without a common version say so, and the old one goes on`(
        _ variant: Variant, _ versions: String
    ) async throws {
        try await self.withReleases(variant) { server in
            try await server.unharmed {
                try self.install(versions, server)
                let mark = server.mark
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
                let words = try await server.line(of: server.current, from: mark, startingWith: "words ").words
                let range = versions.replacing("-", with: " to ")
                #expect(words.contains("versionMismatch") && words.contains("speaks versions 1 to 1"), "\(words)")
                #expect(words.contains("this process \(range)") && words.contains("a release that speaks both"))
                try self.install("1-2", server)
            }
        }
    }

    /// Not to be passed over: only a later version of the handshake may say such a thing, and only to its like.
    @Test(arguments: [Variant.plain, .portableReader], ["say", "late-say"])
    func `What may not be passed over ends the upgrade, and the old release goes on`(
        _ variant: Variant, _ moment: String
    ) async throws {
        try await self.withReleases(variant) { server in
            try await server.unharmed {
                try self.install("1-3", server)
                try server.misbehave("\(moment) \(Frame.hex(200, [1, 2, 3]))")
                let mark = server.mark
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed" && outcome.code == "successorMisbehaved")
                let words = try await server.line(of: server.current, from: mark, startingWith: "words ").words
                #expect(words.contains("a required message of the unknown kind 200"))
            }
        }
    }
}
