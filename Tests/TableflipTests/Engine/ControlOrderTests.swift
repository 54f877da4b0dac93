// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// What clients of the control socket ask for, and what they are told, where everything comes at once.
@Suite(.timeLimit(.minutes(3))) struct ControlOrderTests {
    /// An order that comes too late is not done: the old process knows that, and the new one would not.
    @Test(
        arguments: Kernel.allCases,
        [(.rollback, .replaced), (.upgrade(ControlOrder()), .upgradeRunning)] as [(ControlRequest, UpgradeError.Code)]
    )
    func `who asks in the turn in which the successor becomes the owner is told the truth`(
        _ kernel: Kernel, _ order: (request: ControlRequest, code: UpgradeError.Code)
    ) async throws {
        let directory = try TemporaryDirectory()
        let path = directory("control")
        try await Stage.serving(kernel, { $0.controlSocket = .init(path: path) }) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            // Accepted: from the commit on nobody is.
            let client = try FakeClient(path)
            try await stage.fence()
            _ = try await successor.comeToCommit()
            try await stage.whileHeldUp {
                client.say(order.request)
                try await successor.peer.say(.committed)
            }
            let last = try await client.lastReply()
            guard case .failed(let failure) = last else { throw TimedOut(what: "a failure, and heard \(last)") }
            #expect(failure.code == order.code.description)
            #expect(try await upgrade.value.successor == successor.id)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `orders that wait together are carried out in the order in which the clients came`(
        _ kernel: Kernel
    ) async throws {
        let directory = try TemporaryDirectory()
        let path = directory("control")
        try await Stage.serving(kernel, { $0.controlSocket = .init(path: path) }) { stage in
            stage.spawner.plan { $0.failure = UpgradeError(.spawnFailed, "no room") }
            let clients = try (0..<12).map { _ in try FakeClient(path) }
            try await stage.fence()
            try await stage.whileHeldUp {
                for client in clients.reversed() { client.say(.upgrade(ControlOrder())) }
            }
            var codes: [String] = []
            for client in clients {
                if case .failed(let failure) = try await client.lastReply() { codes.append(failure.code) }
            }
            #expect(codes == ["spawnFailed"] + Array(repeating: "upgradeRunning", count: 11))
        }
    }
}
