// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

/// One of everything that is said on the control socket, and what travels with a client from process to process.
enum ControlSample: Sendable, CustomTestStringConvertible {
    case request(String, ControlRequest)
    case reply(String, ControlReply)
    case state(String, ControlState)
    case history(String, ControlHistory)

    var name: String {
        switch self {
        case .request(let name, _): "request-\(name)"
        case .reply(let name, _): "reply-\(name)"
        case .state(let name, _): "state-\(name)"
        case .history(let name, _): "history-\(name)"
        }
    }

    var testDescription: String { self.name }

    var bytes: [UInt8] {
        switch self {
        case .request(_, let request): request.frame.encoded()
        case .reply(_, let reply): reply.frame.encoded()
        case .state(_, let state): state.encoded()
        case .history(_, let history): history.encoded()
        }
    }

    /// Whether these bytes mean the same.
    func isRead(from bytes: [UInt8]) throws -> Bool {
        switch self {
        case .request(_, let request): return try ControlRequest(Self.frame(bytes)) == request
        case .reply(_, let reply): return try ControlReply(Self.frame(bytes)) == reply
        case .state(_, let state): return try ControlState(reading: bytes) == state
        case .history(_, let history): return try ControlHistory(reading: bytes) == history
        }
    }

    static func frame(_ bytes: [UInt8]) throws -> ControlFrame {
        var decoder = ControlDecoder(limit: ControlLimit.reply)
        decoder.append(bytes[...])
        return try #require(try decoder.next())
    }

    private static let order = ControlOrder(
        timeoutMilliseconds: 30_000, probationMilliseconds: 0, executable: "/srv/hello",
        environmentFile: "/etc/hello.env"
    )
    private static let failure = ControlFailure(
        code: "successorExited", message: "exited with status 3", cure: "Run it by hand.", serving: "predecessor"
    )
    private static let record = ControlRecord(
        time: 1_764_150_000_000, generation: 2, process: 4711, successor: 4720, milliseconds: 412
    )

    static let all: [ControlSample] = [
        .request("status", .status), .request("watch", .watch), .request("upgrade", .upgrade(order)),
        .request("upgrade-plain", .upgrade(.init())), .request("check", .check(order)), .request("commit", .commit),
        .request("rehearse", .rehearse(order)),
        .request("rollback", .rollback), .request("stop", .stop),
        .reply("accepted", .accepted(generation: 3, process: 4711)),
        .reply(
            "event",
            .event(
                .init(
                    phase: "spawned", generation: 3, process: 4711, peer: 4720, elapsedNanoseconds: 4_000_000,
                    time: 1_764_150_000_004
                )
            )
        ),
        .reply(
            "event-progress",
            .event(.init(phase: "moving", generation: 4, process: 4720, peer: 4711, done: 5, total: 118))
        ),
        .reply("event-failed", .event(.init(phase: "failed", generation: 3, process: 4711, failure: failure))),
        .reply("done", .done), .reply("failed", .failed(failure)),
        .reply(
            "status",
            .status(
                .init(
                    generation: 3, process: 4711, predecessor: 4700, successor: 4720, state: "ready",
                    since: 1_764_140_000_000, time: 1_764_150_000_000, version: "1.4.2", program: "/srv/hello",
                    pidFile: "/run/hello.pid", connections: 118,
                    listeners: [
                        .init(
                            name: "tcp://127.0.0.1:0", kind: "listener", address: "tcp://127.0.0.1:0", port: 40_123,
                            isInherited: true
                        )
                    ],
                    upgrades: [
                        record,
                        .init(time: 1, generation: 3, process: 4711, successor: 0, milliseconds: 1, failure: failure),
                    ]
                )
            )
        ),
        .reply(
            "findings", .findings([.init("program", isGood: true, "/srv/hello"), .init("now", isGood: false, "no")])),
        .state("watching", .init(mode: .watching, unsent: [1, 2, 3])),
        .state("silent", .init(mode: .silent, unsent: [], patienceMilliseconds: 1500)),
        .history(
            "one",
            {
                var history = ControlHistory(); history.append(record); history.began = 7; return history
            }()),
    ]
}
