// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// A successor that is started with something else than its predecessor.
@Suite(.fewAtATime)
struct SuccessorConfigurationTests {
    @Test
    func `What changed in the environment file arrives with the next upgrade`() async throws {
        try await TemporaryDirectory.with { directory in
            let file = directory.appending(path: "service.env")
            func write(_ text: String) throws { try Data(text.utf8).write(to: file, options: .atomic) }
            try write("# nothing yet\n")
            let arguments = ["--environment-file", file.path, "--set", "LAST=word"].map { Array($0.utf8) }
            let start = Server.Start(arguments: arguments, environment: ["MODE": Array("old".utf8)])
            try await Server.with(.reader, start) { server in
                try write("MODE='new one'\nLAST=file\nEXTRA=\"a \\\nb\"\n")
                try await server.replace()
                var environment = ProcessFacts.environment(of: server.current)
                for variable in ["MODE=new one", "LAST=word", "EXTRA=a b"] {
                    #expect(environment.contains(Data(variable.utf8)), "\(variable)")
                }
                #expect(!environment.contains(Data("MODE=old".utf8)))
                // What is gone from the file stays with those who inherited it.
                try write("MODE=\n")
                try await server.replace()
                environment = ProcessFacts.environment(of: server.current)
                #expect(environment.contains(Data("MODE=".utf8)) && environment.contains(Data("EXTRA=a b".utf8)))
            }
        }
    }

    @Test(arguments: ["MODE new", "=x", "MODE='x", nil])
    func `A file that cannot be read or understood fails the upgrade in words`(_ text: String?) async throws {
        try await TemporaryDirectory.with { directory in
            let file = directory.appending(path: "service.env")
            try Data("OK=1\n".utf8).write(to: file)
            let arguments = ["--environment-file", file.path].map { Array($0.utf8) }
            try await Server.with(.reader, Server.Start(arguments: arguments)) { server in
                try await server.unharmed {
                    if let text {
                        try Data("OK=1\n\(text)\n".utf8).write(to: file, options: .atomic)
                    } else {
                        try FileManager.default.removeItem(at: file)
                    }
                    let outcome = try await server.upgrade()
                    #expect(outcome.phase == "failed" && outcome.code == "invalidConfiguration")
                    let words = try await server.line(of: server.current, startingWith: "words invalidConfiguration")
                    #expect(words.words.contains(file.path))
                    if text != nil { #expect(words.words.contains("line 2")) }
                    try Data("OK=1\n".utf8).write(to: file, options: .atomic)
                }
            }
        }
    }

    @Test
    func `Variables are set, removed, or not inherited at all`() async throws {
        let arguments = ["--set", "ADDED=a=b", "--set", "HOME"].map { Array($0.utf8) }
        let start = Server.Start(
            arguments: arguments, environment: ["HOME": Array("/x".utf8), "KEPT": Array("1".utf8)])
        try await Server.with(.reader, start) { server in
            try await server.replace()
            let environment = ProcessFacts.environment(of: server.current)
            for variable in ["ADDED=a=b", "KEPT=1"] {
                #expect(environment.contains(Data(variable.utf8)), "\(variable)")
            }
            #expect(!environment.contains { $0.starts(with: Array("HOME=".utf8)) })
        }
        let bare = Server.Start(
            arguments: ["--no-inherited-environment", "--set", "ONLY=1"].map { Array($0.utf8) },
            environment: ["KEPT": Array("1".utf8)]
        )
        try await Server.with(.reader, bare) { server in
            try await server.replace()
            #expect(ProcessFacts.environment(of: server.current) == [Data("ONLY=1".utf8)])
        }
    }

    /// The second generation configures nothing: it passes on what it was started with.
    @Test(arguments: [Variant.reader, .portableReader])
    func `Arguments that one process gives to the next one last`(_ variant: Variant) async throws {
        let start = Server.Start(arguments: ["--next-arguments", "--marked"].map { Array($0.utf8) })
        try await Server.with(variant, start) { server in
            let arguments = ProcessFacts.arguments(of: server.first)
            for _ in 2...3 {
                try await server.replace()
                #expect(ProcessFacts.arguments(of: server.current) == arguments + Data("--marked\0".utf8))
            }
        }
    }

    @Test
    func `With a directory configured, a start directory that is gone does not matter`() async throws {
        try await TemporaryDirectory.with("start", "other") { directory in
            let start = directory.appending(path: "start")
            let other = directory.appending(path: "other").resolvingSymlinksInPath()
            let arguments = ["--directory", other.path].map { Array($0.utf8) }
            try await Server.with(.reader, Server.Start(arguments: arguments, directory: start)) { server in
                try FileManager.default.removeItem(at: start)
                try await server.replace()
                #expect(ProcessFacts.directory(of: server.current) == other.path)
                try await server.replace()
                #expect(ProcessFacts.directory(of: server.current) == other.path)
            }
        }
    }

    #if os(Linux)
    /// Where it may not make a namespace this cannot be tried; CI runs as root.
    @Test(.enabled(if: getuid() == 0, "it takes root to be PID 1 of a namespace"))
    func `As PID 1 of a container an upgrade is refused, with the cure`() async throws {
        let start = Server.Start(launcher: Server.Start.asProcessOne)
        try await Server.withProcess(.reader, start) { server in
            // Inside it is 1; unshare(1), the process that was started, has it as its one child.
            try await server.line(startingWith: "serving")
            let outside = try #require(ProcessFacts(of: server.first).children.first)
            server.signal(outside, SIGHUP)
            let refused = try await server.line(startingWith: "event refused")
            #expect(refused.process == 1 && refused.words.hasSuffix("processOne"))
            let words = try await server.line(startingWith: "words processOne")
            #expect(words.words.contains("PID 1") && words.words.contains("tableflip-run"))
            server.signal(outside, SIGTERM)
            #expect(try await server.ending(of: server.first) == .exited(0))
            try await server.everythingToEnd()
        }
    }
    #endif
}
