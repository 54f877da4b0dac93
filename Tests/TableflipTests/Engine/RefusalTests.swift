// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Upgrades that are not begun, and processes that stop.
@Suite(.timeLimit(.minutes(3))) struct RefusalTests {
    // MARK: Refusals

    @Test(arguments: Kernel.allCases)
    func `no upgrade before ready`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            let error = try await stage.requestUpgrade().failure
            #expect(error.code == .notReady)
            #expect(try await stage.events.first(.refused).error == error)
            try await stage.upgrader.ready()
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `no upgrade while one is running`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let error = try await stage.requestUpgrade().failure
            #expect(error.code == .upgradeRunning)
            #expect(error.message.contains("\(successor.id)"))
            let inventory = try await successor.takeInventory()
            try await successor.sayReady(inventory)
            try await successor.peer.expect(.go)
            #expect(try await stage.requestUpgrade().failure.code == .upgradeRunning)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
        }
    }

    /// The engine takes both out of its inbox at once.
    @Test(arguments: Kernel.allCases)
    func `of two upgrades asked for at the same time one is refused`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let first = Latch<Result<UpgradeReport, UpgradeError>>()
            let second = Latch<Result<UpgradeReport, UpgradeError>>()
            try await stage.sendTogether([.upgrade(.init { first.set($0) }), .upgrade(.init { second.set($0) })])
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            // What the upgrade has led to is known when bye is said.
            try await successor.peer.expect(.bye(.init()))
            try await stage.fence()
            let outcomes = [first.current, second.current].map { $0.map { $0.code } }
            #expect(outcomes == [.success, .failure(.upgradeRunning)])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an upgrade that is asked for at the same time as a stop is refused or given up`(_ kernel: Kernel) async throws
    {
        try await Stage.serving(kernel) { stage in
            let outcome = Latch<Result<UpgradeReport, UpgradeError>>()
            try await stage.sendTogether([.stop, .upgrade(.init { outcome.set($0) })])
            #expect(await stage.upgrader.exit == .stopped)
            try await stage.fence()
            let verdict = outcome.current.map { $0.code }
            #expect(verdict == .failure(.stopping))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `no upgrade by a process that was replaced`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let successor = try await self.expectWholeUpgrade(stage)
            let error = try await stage.requestUpgrade().failure
            #expect(error.code == .replaced)
            #expect(error.message.contains("\(successor.id)"))
            #expect(error.serving == .successor)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `no upgrade by a process that is stopping`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            stage.upgrader.stop()
            #expect(await stage.upgrader.exit == .stopped)
            let error = try await stage.requestUpgrade().failure
            #expect(error.code == .stopping)
            #expect(error.serving == .nobody)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a process is ready only once`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let again = try await stage.requestReady().failure
            #expect(again.code == .wrongMoment)
            stage.upgrader.stop()
            let stopping = try await stage.requestReady().failure
            #expect(stopping.code == .wrongMoment)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `of two calls of ready at the same time one is refused`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        try await Stage.first(kernel) { stage in
            stage.upgrader.register(reader)
            let first = Latch<Result<Void, UpgradeError>>()
            let second = Latch<Result<Void, UpgradeError>>()
            try await stage.sendTogether([.ready { first.set($0) }, .ready { second.set($0) }])
            #expect(try await first.value().code == .success)
            #expect(try await second.value().code == .failure(.wrongMoment))
            #expect(reader.journal.all.count { $0 == "reader: resume" } == 1)
        }
    }

    // MARK: Stopping

    @Test(arguments: Kernel.allCases)
    func `a process that stops gives up everything`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 111)
        let tracer = try Tracer()
        try await Stage.first(kernel, pidFile: file) { stage in
            let listener = try stage.upgrader.listen(on: .unix(path: directory("x.sock")))
            _ = try stage.upgrader.carry(.file, name: "trace") { tracer.giveAway() }
            try await stage.upgrader.ready()
            #expect(directory.names == ["service.pid", "x.sock"])
            stage.upgrader.stop()
            #expect(await stage.upgrader.exit == .stopped)
            #expect(directory.names.isEmpty)
            #expect(throws: UpgradeError.self) { _ = try listener.duplicate() }
            #expect(try await tracer.isClosedEverywhere)
            #expect(stage.exited.current == nil)
            // The second time means now.
            stage.upgrader.stop()
            #expect(try await stage.exited.value("the end") == 0)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a PID file that is another's is left to it`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        try await Stage.serving(kernel, pidFile: PIDFile(path: directory("service.pid"), process: 111)) { stage in
            try PIDFile(path: directory("service.pid"), process: 222).restore()
            stage.upgrader.stop()
            #expect(await stage.upgrader.exit == .stopped)
        }
        #expect(directory.text("service.pid") == "222\n")
    }

    @Test(arguments: Kernel.allCases)
    func `a process that is told to stop before it is ready stops`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 111)
        try await Stage.first(kernel, pidFile: file) { stage in
            _ = try stage.upgrader.listen(on: .unix(path: directory("x.sock")))
            stage.upgrader.stop()
            #expect(await stage.upgrader.exit == .stopped)
            #expect(directory.names.isEmpty)
            // It goes on to its end as if it had served. What it asks for on the way is not left behind.
            let late = try stage.upgrader.listen(on: .unix(path: directory("y.sock")))
            _ = try late.duplicate()
            try await stage.requestReady().value
            #expect(directory.names.isEmpty)
            #expect(throws: UpgradeError.self) { _ = try late.duplicate() }
            #expect(try await stage.requestReady().failure.code == .wrongMoment)
        }
    }

    /// The engine takes both out of its inbox at once.
    @Test(arguments: Kernel.allCases)
    func `of ready and a stop at the same time the one that came first counts first`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            let outcome = Latch<Result<Void, UpgradeError>>()
            try await stage.sendTogether([.ready { outcome.set($0) }, .stop])
            #expect(try await outcome.value().code == .success)
            #expect(await stage.upgrader.exit == .stopped)
        }
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 111)
        try await Stage.first(kernel, pidFile: file) { stage in
            let outcome = Latch<Result<Void, UpgradeError>>()
            try await stage.sendTogether([.stop, .ready { outcome.set($0) }])
            #expect(try await outcome.value().code == .success)
            #expect(await stage.upgrader.exit == .stopped)
            // It has not even become the owner.
            #expect(directory.names.isEmpty && !stage.upgrader.isOwner)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `stopping before go kills the successor`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            stage.upgrader.stop()
            let error = try await upgrade.failure
            #expect(error.code == .stopping)
            #expect(error.serving == .nobody)
            #expect(await stage.upgrader.exit == .stopped)
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            successor.tell(.signalled(ProcessID.killSignal))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `stopping after go asks the successor to stop as well`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            stage.upgrader.stop()
            #expect(try await upgrade.failure.code == .stopping)
            #expect(try await successor.fate() == .signalled(ProcessID.terminate))
            successor.tell(.signalled(ProcessID.terminate))
        }
    }

    @Test(arguments: [([], SIGTERM), ([SIGINT], SIGINT), ([SIGINT, SIGTERM], SIGTERM)] as [([CInt], CInt)])
    func `the successor is asked to stop by a signal that stops it`(_ stops: [CInt], _ expected: CInt) async throws {
        try await Stage.serving(.current, { $0.signals.stop = stops }) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            stage.upgrader.stop()
            #expect(try await upgrade.failure.code == .stopping)
            #expect(try await successor.fate() == .signalled(expected))
            successor.tell(.signalled(expected))
        }
    }

    /// As when this process was stopped (SIGSTOP) while its successor took the service.
    @Test(arguments: Kernel.allCases)
    func `a stop that is found together with committed stops nobody else`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel, { $0.signals = .standard }) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.comeToCommit()
            try await stage.whileHeldUp {
                stage.signals.signal(UInt8(SIGTERM - 1))
                stage.context.inbox.send(.stop)
                try await successor.peer.say(.committed)
            }
            #expect(try await upgrade.value.successor == successor.id)
            #expect(await stage.upgrader.exit == .replaced(successor: successor.id))
            #expect(successor.isAlive)
        }
    }

    /// systemd sends SIGTERM to all of the service, and once more to whoever is left when the main process has ended, which
    /// is the successor by then. tableflip-run does not.
    @Test(arguments: Kernel.allCases, [true, false])
    func `a stop that is found together with committed may be repeated by the manager`(
        _ kernel: Kernel, _ repeatsStops: Bool
    ) async throws {
        let runner = try NotifyListener()
        let manager = repeatsStops ? NotifySocket(address: "/nowhere/at/all") : runner.socket
        try await Stage.serving(kernel, { $0.signals = .standard }, manager: manager) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.comeToCommit()
            try await stage.whileHeldUp {
                stage.signals.signal(UInt8(SIGTERM - 1))
                try await successor.peer.say(.committed)
            }
            _ = try await upgrade.value
            #expect(await stage.upgrader.exit == .replaced(successor: successor.id))
            stage.signals.signal(UInt8(SIGTERM - 1 | TF_SIGNAL_OF_PARENT))
            if repeatsStops {
                try await stage.fence()
                #expect(stage.exited.current == nil)
                // By anybody else it means now.
                stage.signals.signal(UInt8(SIGTERM - 1))
            }
            _ = try await stage.exited.value("the end")
        }
    }

    /// A stop of the whole service reaches a successor by its predecessor as well, in either order.
    @Test(arguments: [[0, TF_SIGNAL_IS_MARKED], [TF_SIGNAL_IS_MARKED, 0], [0, TF_SIGNAL_OF_PARENT]])
    func `stops that arrive together count as when they come one after the other`(_ marks: [CInt]) async throws {
        let predecessor = try FakePredecessor(.current)
        try await Stage.successor(.current, of: predecessor, { $0.signals = .standard }) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await predecessor.peer.expect(.committed)
            try await ready.value
            try await stage.whileHeldUp {
                for mark in marks { stage.signals.signal(UInt8(SIGTERM - 1 | mark)) }
            }
            #expect(await stage.upgrader.exit == .stopped)
            try await stage.fence()
            #expect(stage.exited.current == nil)
        }
    }

    @Test func `two stops that arrive together and come from nobody else mean now`() async throws {
        try await Stage.serving(.current, { $0.signals = .standard }) { stage in
            try await stage.whileHeldUp { for _ in 0..<2 { stage.signals.signal(UInt8(SIGTERM - 1)) } }
            _ = try await stage.exited.value("the end")
        }
    }

    @Test(arguments: Kernel.allCases)
    func `the drain time-out ends a process that stops`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel, { $0.drainTimeout = .milliseconds(100) }) { stage in
            stage.upgrader.stop()
            #expect(try await stage.exited.value("the end") == 0)
            _ = try await stage.events.first(.drainOverran)
        }
    }

    @discardableResult
    private func expectWholeUpgrade(_ stage: Stage) async throws -> FakeSuccessor {
        let upgrade = stage.requestUpgrade()
        let successor = try await stage.spawner.next()
        _ = try await successor.takeOver()
        #expect(try await upgrade.value.successor == successor.id)
        return successor
    }
}

/// What a result was, without what came of it.
enum Verdict: Equatable {
    case success
    case failure(UpgradeError.Code)
}

extension Result where Failure == UpgradeError {
    fileprivate var code: Verdict {
        switch self {
        case .success: .success
        case .failure(let error): .failure(error.code)
        }
    }
}
