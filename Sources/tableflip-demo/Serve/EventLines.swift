// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation
import Tableflip

/// What the server tells the demonstration: a line of JSON for each event.
struct EventLine: Codable {
    var pid: Int32
    var generation: Int
    var phase: String
    var peer: Int32 = 0
    var milliseconds: Double = 0
    var error: String?
    var port: UInt16?
}

/// Writes events to the standard output, which all generations share.
struct EventLines {
    private let task: Task<Void, Never>

    init(_ events: UpgradeEvents) {
        self.task = Task {
            for await event in events {
                Self.write(
                    EventLine(
                        pid: getpid(), generation: event.generation, phase: event.phase.description, peer: event.peer,
                        milliseconds: event.elapsed.milliseconds, error: event.error?.description
                    )
                )
            }
        }
    }

    func listening(port: UInt16, generation: Int) {
        Self.write(EventLine(pid: getpid(), generation: generation, phase: "listening", port: port))
    }

    /// Returns when everything is written that has happened until now.
    func finish() async {
        self.task.cancel()
        await self.task.value
    }

    private static func write(_ line: EventLine) {
        // A struct of numbers and strings always encodes.
        guard var data = try? JSONEncoder().encode(line) else { return }
        data.append(UInt8(ascii: "\n"))
        // In one piece: up to 4096 bytes do not mix with another generation's (pipe(7), PIPE_BUF).
        data.withUnsafeBytes { _ = Foundation.write(1, $0.baseAddress, $0.count) }
    }
}
#endif  // NIO
