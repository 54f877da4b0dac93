// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import TableflipCore
import Testing

/// The control socket under those who stay, who say nothing, and who say nonsense.
@Suite(.fewAtATime)
struct ControlTests {
    @Test(arguments: [Variant.reader, .portableReader, .plain])
    func `Whoever watches hears every phase of ten upgrades, on one connection`(_ variant: Variant) async throws {
        try await Server.controlled(variant) { server in
            let watch = try Ctl(server, "watch", "--json")
            try await watch.output(containing: "watching")
            var processes = [server.current]
            for _ in 0..<10 {
                try await server.replace()
                processes.append(server.current)
            }
            try await watch.output(containing: "\"phase\":\"predecessorLeft\",\"generation\":11")
            server.stopClient()
            #expect(try await Ctl.run(server, "stop").status == 0)
            let result = try await watch.result()
            #expect(result.status == 0, "\(result)")
            var heard = result.objects.filter { $0["type"] as? String == "event" }
            for (index, process) in processes.dropLast().enumerated() {
                let (generation, next) = (index + 1, processes[index + 1])
                let old = ["requested", "spawned", "handingOver", "handedOver", "ready", "go", "committed"]
                let new = ["inherited", "serving", "owner", "predecessorLeft"]
                for (phase, speaker, number) in old.map({ ($0, process, generation) })
                    + new.map({ ($0, next, generation + 1) })
                {
                    let event = heard.isEmpty ? [:] : heard.removeFirst()
                    #expect(
                        event["phase"] as? String == phase && event["pid"] as? Int == Int(speaker)
                            && event["generation"] as? Int == number, "\(phase) of \(number): \(event)")
                }
            }
            #expect(heard.map { $0["phase"] as? String } == ["stopping"])
        }
    }

    /// The second of two signals means now. Of two orders the second may have waited while nobody answered the first.
    @Test func `Two orders to stop that are heard together are one`() async throws {
        try await Server.controlledAlone { server in
            let first = server.first
            server.signal(first, SIGSTOP)
            #expect(await server.eventually { ProcessFacts.isStopped(first) })
            let stop = ControlRequest.stop.frame.encoded()
            var clients: [CInt] = []
            defer { for client in clients { close(client) } }
            for _ in 0..<2 {
                let client = try LocalSocket.connected(to: server.control.path)
                clients.append(client)
                #expect(send(client, stop, stop.count, CInt(MSG_NOSIGNAL)) == stop.count)
            }
            server.signal(first, SIGCONT)
            try await server.line(of: first, startingWith: "leaving stopped")
            #expect(try await server.ending(of: first) == .exited(0))
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `A hundred silent and hostile clients disturb nothing, and are cut`(_ variant: Variant) async throws {
        try await Server.controlled(variant) { server in
            var clients: [CInt] = []
            defer { for client in clients { close(client) } }
            func connect(_ bytes: [UInt8]) throws {
                let client = try LocalSocket.connected(to: server.control.path)
                clients.append(client)
                _ = send(client, bytes, bytes.count, CInt(MSG_NOSIGNAL))
            }
            let hostile: [[UInt8]] = [
                [], Array("GET / HTTP/1.1\r\n\r\n".utf8), [0x54, 0x46],
                [0x54, 0x46, 0x43, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
                [0x54, 0x46, 0x43, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1],
            ]
            for number in 0..<20 {
                for _ in 0..<5 { try connect(hostile[(clients.count + number) % hostile.count]) }
                let old = server.current
                let result = try await Ctl.run(server, "upgrade")
                #expect(result.status == 0, "\(result)")
                try await server.follow(to: try await server.successor(of: old), from: old)
            }
            #expect(clients.count == 100)
            let deadline = ContinuousClock.now + patience
            for client in clients {
                #expect(try await Self.end(of: client, before: deadline) != nil, "\(client) was not cut")
            }
            try await server.replace()
        }
    }

    @Test(arguments: [false, true])
    func `A silent client is cut at its deadline, and every next process goes on counting`(
        _ isUpgraded: Bool
    ) async throws {
        try await Server.controlled { server in
            let client = try LocalSocket.connected(to: server.control.path)
            defer { close(client) }
            // Half of a header: it is not over, and never will be.
            let began = ContinuousClock.now
            #expect(send(client, [0x54, 0x46] as [UInt8], 2, CInt(MSG_NOSIGNAL)) == 2)
            let deadline = began + patience
            if isUpgraded {
                // No process lives for as long as the client may be silent.
                while try await Self.end(of: client, before: .now) == nil, ContinuousClock.now < deadline {
                    try await server.replace()
                }
            }
            #expect(try await Self.end(of: client, before: deadline) != nil, "it was not cut")
            #expect(ContinuousClock.now - began > .seconds(4), "it had less than its time")
        }
    }

    /// Whether the service hangs up; whatever it says before is read.
    /// - Returns: all that it heard up to the end; nil: it has not ended.
    private static func end(of client: CInt, before deadline: ContinuousClock.Instant) async throws -> String? {
        try await onItsOwnThread {
            var heard: [UInt8] = []
            var bytes = [UInt8](repeating: 0, count: 4096)
            while isReadable(client, before: deadline) {
                let count = recv(client, &bytes, bytes.count, 0)
                if count <= 0 { return String(decoding: heard, as: UTF8.self) }
                heard += bytes[..<count]
            }
            return nil
        }
    }

    @Test func `One more than the limit cuts the one that was silent for longest`() async throws {
        try await Server.controlled { server in
            var clients: [CInt] = []
            defer { for client in clients { close(client) } }
            let began = ContinuousClock.now
            for _ in 0..<64 { clients.append(try LocalSocket.connected(to: server.control.path)) }
            #expect(try await Ctl.run(server, "status").status == 0)
            let heard = try #require(try await Self.end(of: clients[0], before: .now + patience))
            // It may only have been slow to ask. Whose five seconds are over hears nothing.
            #expect(heard.contains("clients are waiting") || ContinuousClock.now - began > .seconds(5), "\(heard)")
        }
    }

    @Test func `A release without the control socket ends the wait in words`() async throws {
        try await Server.controlled(.reader, ["--control-first-only"]) { server in
            let watch = try Ctl(server, "watch")
            try await watch.output(containing: "watching")
            let upgrade = try await Ctl.run(server, "upgrade")
            #expect(upgrade.status == 0, "\(upgrade)")
            let result = try await watch.result()
            #expect(result.status == 4 && result.errors.contains("does not listen on this control socket"), "\(result)")
            try await server.follow(to: try await server.successor(of: server.first), from: server.first)
            let path = server.control.path
            #expect(await server.eventually { !FileManager.default.fileExists(atPath: path) })
        }
    }
}
