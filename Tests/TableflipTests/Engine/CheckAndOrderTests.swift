// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// What else decides a probation than time: the successor's own check, and an operator.
@Suite(.timeLimit(.minutes(3))) struct CheckAndOrderTests {
    struct Unwell: Error, CustomStringConvertible {
        var description: String { "the cache is cold" }
    }

    // MARK: The check, in the successor

    @Test(arguments: Kernel.allCases)
    func `a check that returns asks for the commit, and only then`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let gate = Latch<Void>()
        let configure: (inout Upgrader.Configuration) -> Void = {
            $0.probation = .passing(within: .seconds(600)) { _ = await gate.wait() }
        }
        try await Stage.successor(kernel, of: predecessor, configure) { stage in
            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.probation == .checked && said.probationMilliseconds == 600_000)
            try await predecessor.peer.say(.go)
            try await ready.value
            try await stage.fence()
            #expect(try await predecessor.peer.isQuiet)
            gate.set(())
            try await predecessor.peer.expect(.commit)
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expect(.committed)
            _ = try await stage.events.first(.owner)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a check that throws gives the service back in its own words`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        let configure: (inout Upgrader.Configuration) -> Void = {
            $0.probation = .passing(within: .seconds(600)) { throw Unwell() }
        }
        try await Stage.successor(kernel, of: predecessor, configure) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            guard case .abort(let abort) = try await predecessor.peer.nextMessage().message else {
                throw TimedOut(what: "an abort")
            }
            #expect(abort.code == "probationFailed" && abort.message.contains("the cache is cold"))
            #expect(reader.journal.all.last == "reader: paused")
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack(let error) = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
            #expect(error.code == .probationFailed)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a check that does not return in time is cancelled, and the service given back`(_ kernel: Kernel) async throws
    {
        let predecessor = try FakePredecessor(kernel)
        let cancelled = Latch<Void>()
        let configure: (inout Upgrader.Configuration) -> Void = {
            $0.probation = .passing(within: .milliseconds(50)) {
                try? await Task.sleep(for: .seconds(3600))
                if Task.isCancelled { cancelled.set(()) }
            }
        }
        try await Stage.successor(kernel, of: predecessor, configure) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.expectAbort(.probationFailed)
            try await cancelled.value("the check's task cancelled")
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
        }
    }

    /// As when both processes were stopped (SIGSTOP) for longer than everything that was waited for.
    @Test(arguments: Kernel.allCases)
    func `a check that is overdue gives the service back, also where the wait for the commit is`(
        _ kernel: Kernel
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        let configure: (inout Upgrader.Configuration) -> Void = {
            $0.probation = .passing(within: .nanoseconds(1)) { try? await Task.sleep(for: .seconds(3600)) }
        }
        // Both are over when they begin.
        var patience = Patience.ofTests
        patience.hooks = .seconds(-7200)
        try await Stage.successor(kernel, of: predecessor, configure, patience: patience) { stage in
            stage.upgrader.register(FakeReader())
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.expectAbort(.probationFailed)
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
            #expect(!stage.upgrader.isOwner)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a commit that comes before the check has returned ends it`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let cancelled = Latch<Void>()
        let configure: (inout Upgrader.Configuration) -> Void = {
            $0.probation = .passing(within: .seconds(600)) {
                try? await Task.sleep(for: .seconds(3600))
                cancelled.set(())
                throw Unwell()
            }
        }
        try await Stage.successor(kernel, of: predecessor, configure) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expect(.committed)
            try await cancelled.value("the check's task cancelled")
            _ = try await stage.events.first(.owner)
            #expect(stage.context.exit.current == nil)
        }
    }

    @Test func `a first process has no check`() async throws {
        let called = Atomic(false)
        let configure: (inout Upgrader.Configuration) -> Void = {
            $0.probation = .passing(within: .seconds(600)) { called.store(true, ordering: .relaxed) }
        }
        try await Stage.first(.current, configure) { stage in
            try await stage.upgrader.ready()
            _ = try await stage.events.first(.owner)
            try await stage.fence()
        }
        let wasCalled = called.load(ordering: .relaxed)
        #expect(!wasCalled)
    }

    // MARK: A probation that an upgrade asks for

    @Test(arguments: Kernel.allCases)
    func `the successor is told of the probation that was asked for, before its inventory`(
        _ kernel: Kernel
    ) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = Outcome { () throws(UpgradeError) in
                try await stage.upgrader.upgrade(probation: .milliseconds(1500))
            }
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            #expect(try await successor.hearTerms().probationMilliseconds == 1500)
            let inventory = try await successor.takeInventory()
            try await successor.sayReady(inventory, probation: .timed, milliseconds: 1500)
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that passes over what was asked for is not let go`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = Outcome { () throws(UpgradeError) in
                try await stage.upgrader.upgrade(probation: .milliseconds(1500))
            }
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.hearTerms()
            let inventory = try await successor.takeInventory()
            try await successor.sayReady(inventory)
            try await successor.peer.expectAbort(.probationFailed)
            try await successor.end(.exited(1))
            let error = try await upgrade.failure
            #expect(error.code == .probationFailed && !error.isRollback)
        }
    }

    @Test(arguments: Kernel.allCases, [(UInt64(1500), Probation.timed), (0, .none)])
    func `a successor takes the probation that it is told`(
        _ kernel: Kernel, _ terms: (milliseconds: UInt64, kind: Probation)
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        let greeting: (FakePredecessor) async throws -> Void = { predecessor in
            try await predecessor.sayHello()
            try await predecessor.peer.say(.terms(.init(probationMilliseconds: terms.milliseconds)))
            try await predecessor.hearHello()
            try await predecessor.offer(.empty)
            try await predecessor.peer.expect(.acknowledgement(.init(.initialOffer, received: 0)))
        }
        try await Stage.successor(
            kernel, of: predecessor, { $0.probation = .lasting(.seconds(600)) }, greeting: greeting
        ) { stage in
            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.probation == terms.kind && said.probationMilliseconds == terms.milliseconds)
            try await predecessor.peer.say(.go)
            try await predecessor.peer.say(.commit)
            try await ready.value
        }
    }

    @Test func `times that cannot be are refused in words`() async throws {
        try await Stage.serving(.current) { stage in
            for (timeout, probation) in [
                (Duration.zero, nil), (.seconds(-1), nil), (nil, Duration.seconds(-1)), (nil, .seconds(86_401)),
            ] as [(Duration?, Duration?)] {
                let outcome = Outcome { () throws(UpgradeError) in
                    try await stage.upgrader.upgrade(timeout: timeout, probation: probation)
                }
                let error = try await outcome.failure
                #expect(error.code == .invalidConfiguration && !error.cure.isEmpty)
            }
        }
    }

    @Test func `a probation that cannot be is refused in words`() {
        for probation in [
            Upgrader.Configuration.Probation(duration: .seconds(-1)), .lasting(.seconds(86_401)),
            .passing(within: .zero) {},
        ] {
            let error = #expect(throws: UpgradeError.self) {
                try Upgrader.Configuration(probation: probation).validate()
            }
            #expect(error?.code == .invalidConfiguration && error?.cure.isEmpty == false)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `one upgrade can have a shorter time to be ready in`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = Outcome { () throws(UpgradeError) in
                try await stage.upgrader.upgrade(timeout: .milliseconds(100))
            }
            // It may not even have begun to greet by then.
            let successor = try await stage.spawner.next()
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            successor.tell(.signalled(ProcessID.killSignal))
            #expect(try await upgrade.failure.code == .successorTimedOut)
        }
    }

    // MARK: An operator

    @Test(arguments: Kernel.allCases)
    func `an order to commit ends the probation`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            _ = try await stage.events.first(.probation)
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.commit() }
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            let (ordered, upgraded) = (try await order.value, try await upgrade.value)
            #expect(ordered == upgraded)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an order to go back is obeyed, and everybody learns why`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        try await Stage.serving(kernel, reader: reader) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            _ = try await stage.events.first(.probation)
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.rollBack(because: "too slow") }
            try await successor.peer.expectAbort(.rolledBack)
            #expect(order.current == nil)
            // Whoever orders it once more meanwhile waits for the same.
            let again = Latch<Result<Void, UpgradeError>>()
            try await stage.sendTogether([.rollBack("", { again.set($0) })])
            try await stage.fence()
            #expect(again.current == nil)
            try await successor.peer.say(.abort(.init(code: "predecessorAborted", message: "I paused", cure: "")))
            try await successor.peer.expect(.bye(.init()))
            try await order.value
            try await again.value().get()
            let error = try await upgrade.failure
            #expect(error.code == .rolledBack && error.isRollback && error.message.contains("too slow"))
            #expect(reader.journal.all.last == "reader: resumed")
            let event = try await stage.events.first(.rolledBack)
            #expect(event.error == error && event.peer == successor.id)
            #expect(!stage.events.phases.contains(.failed))
            try await successor.end(.exited(0))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an order to go back that comes before go gives the upgrade up`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            _ = try await stage.events.first(.handedOver)
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.rollBack() }
            try await successor.peer.expectAbort(.rolledBack)
            try await successor.end(.exited(1))
            try await order.value
            let error = try await upgrade.failure
            #expect(error.code == .rolledBack && !error.isRollback)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an order to go back that a stop overtakes says that this process does not serve again`(
        _ kernel: Kernel
    ) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            _ = try await stage.events.first(.probation)
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.rollBack() }
            try await successor.peer.expectAbort(.rolledBack)
            stage.upgrader.stop()
            let error = try await order.failure
            #expect(error.code == .stopping && error.serving == .nobody)
            #expect(try await upgrade.failure.code == .stopping)
            #expect(try await successor.fate() == .signalled(ProcessID.terminate))
            successor.tell(.signalled(ProcessID.terminate))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an order to go back that comes too late says so`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            _ = try await stage.events.first(.probation)
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.rollBack() }
            try await successor.peer.expectAbort(.rolledBack)
            // It had given up waiting, and has committed by itself.
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
            #expect(try await order.failure.code == .replaced)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an order to go back that comes after commit says so`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.comeToCommit()
            let order = Latch<Result<Void, UpgradeError>>()
            try await stage.sendTogether([.rollBack("", { order.set($0) })])
            try await stage.fence()
            #expect(order.current == nil)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
            guard case .failure(let error) = try await order.value() else { throw TimedOut(what: "a refusal") }
            #expect(error.code == .replaced && error.message.contains("\(successor.id)"))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `orders without an upgrade are refused in words`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let commit = Outcome { () throws(UpgradeError) in try await stage.upgrader.commit() }
            let refusedCommit = try await commit.failure
            #expect(refusedCommit.code == .wrongMoment)
            let rollback = Outcome { () throws(UpgradeError) in try await stage.upgrader.rollBack() }
            let refusedRollback = try await rollback.failure
            #expect(refusedRollback.code == .wrongMoment)
        }
    }

    // MARK: Its pulse

    /// It says that it answers.
    private static let lively = Message.Hello(generation: 2, process: 0, features: Message.Hello.answersPings)

    @Test(arguments: Kernel.allCases)
    func `a successor that serves is asked whether it is there, until it is the owner`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            stage.spawner.plan { $0.hello = Self.lively }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            for _ in 0..<3 {
                try await successor.peer.expect(.ping)
                try await successor.peer.say(.pong)
            }
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.commit() }
            // A question may be on its way.
            var said = try await successor.peer.nextMessage().message
            while said == .ping { said = try await successor.peer.nextMessage().message }
            #expect(said == .commit)
            try await successor.peer.say(.committed)
            _ = try await (order.value, upgrade.value)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that does not answer is killed, and its predecessor serves again`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        var patience = Patience.ofTests
        patience.looks = Patience().looks
        try await Stage.serving(kernel, reader: reader, patience: patience) { stage in
            stage.spawner.plan { $0.hello = Self.lively }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            try await successor.peer.expect(.ping)
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            #expect(reader.journal.all.last == "reader: paused")
            successor.tell(.signalled(ProcessID.killSignal))
            let error = try await upgrade.failure
            #expect(error.code == .successorSilent && error.isRollback)
            #expect(reader.journal.all.last == "reader: resumed")
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that does not answer while it is taken back is killed`(_ kernel: Kernel) async throws {
        var patience = Patience.ofTests
        patience.looks = Patience().looks
        // It is its pulse that ends it: the readers of a process that is there would have more time than this test.
        patience.pauses = .seconds(600)
        try await Stage.serving(kernel, patience: patience) { stage in
            stage.spawner.plan { $0.hello = Self.lively }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.rollBack(because: "") }
            // It answers until it hears of that.
            while case .ping = try await successor.peer.nextMessage().message { try await successor.peer.say(.pong) }
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            successor.tell(.signalled(ProcessID.killSignal))
            #expect(try await upgrade.failure.code == .rolledBack)
            try await order.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor answers at once, at any moment`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor, { $0.probation = .lasting(.seconds(600)) }) { stage in
            try await predecessor.peer.say(.ping)
            try await predecessor.peer.expect(.pong)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.say(.ping)
            try await predecessor.peer.expect(.pong)
        }
    }
}
