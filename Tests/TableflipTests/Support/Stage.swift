// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CoreMetrics
import Dispatch
import Synchronization
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// A process under test inside the test's own: an upgrader and its engine, with fakes around them.
final class Stage: Sendable {
    let kernel: Kernel
    let context: EngineContext
    let upgrader: Upgrader
    let spawner: FakeSpawner
    let events: EventLog
    let log: RecordedLog
    /// With which status the process would have ended.
    let exited: Latch<CInt>
    /// Where its signals arrive.
    let signals: WakeUp
    private let exitNow: WakeUp

    private init(
        _ surroundings: Surroundings, upstream: consuming OwnedDescriptor?
    ) throws {
        self.kernel = surroundings.kernel
        self.context = surroundings.context
        self.spawner = surroundings.spawner
        self.log = surroundings.log
        self.exited = surroundings.exited
        self.exitNow = surroundings.exitNow
        self.signals = try WakeUp()
        // From the start: the successor's first events come while it is being made.
        self.events = EventLog(surroundings.context.events.subscribe())
        self.upgrader = try Upgrader(context: surroundings.context, upstream: upstream, signals: self.signals)
    }

    /// Readers are called on the threads of Swift's pool, and have deadlines: while hundreds of other tests crowd it, none
    /// of these begins.
    private static func waitForCalm() async {
        let end = ContinuousClock.now + patience
        while true {
            let asked = ContinuousClock.now
            await Task {}.value
            let answered = ContinuousClock.now
            if asked.duration(to: answered) < .milliseconds(250) || answered >= end { return }
        }
    }

    // MARK: A first process

    /// Plays with a process that nobody has started to replace anybody. Ends it in any case.
    static func first(
        _ kernel: Kernel, pidFile: PIDFile? = nil, _ configure: (inout Upgrader.Configuration) -> Void = { _ in },
        patience: Patience = .ofTests, manager: NotifySocket? = nil,
        atStep: (@Sendable (EngineStep, ChannelSocket?) -> Void)? = nil,
        metrics: any MetricsFactory = MetricsSystem.factory, _ play: (Stage) async throws -> Void
    ) async throws {
        await self.waitForCalm()
        let stage = try Stage(
            Surroundings(kernel, pidFile, configure, patience, manager, atStep, metrics), upstream: nil)
        try await stage.finish(after: play)
    }

    /// The same, with a reader, and serving.
    static func serving(
        _ kernel: Kernel, reader: FakeReader? = nil, pidFile: PIDFile? = nil,
        _ configure: (inout Upgrader.Configuration) -> Void = { _ in }, patience: Patience = .ofTests,
        manager: NotifySocket? = nil, atStep: (@Sendable (EngineStep, ChannelSocket?) -> Void)? = nil,
        metrics: any MetricsFactory = MetricsSystem.factory, _ play: (Stage) async throws -> Void
    ) async throws {
        try await self.first(
            kernel, pidFile: pidFile, configure, patience: patience, manager: manager, atStep: atStep, metrics: metrics
        ) { stage in
            if let reader { stage.upgrader.register(reader) }
            try await stage.upgrader.ready()
            try await play(stage)
        }
    }

    // MARK: A successor

    /// Plays with a process that was started by a predecessor, which is the test. What the predecessor says first is
    /// `greeting`; by itself it hands over an inventory of nothing.
    static func successor(
        _ kernel: Kernel, pidFile: PIDFile? = nil, of predecessor: FakePredecessor,
        _ configure: (inout Upgrader.Configuration) -> Void = { _ in }, patience: Patience = .ofTests,
        greeting: ((FakePredecessor) async throws -> Void)? = nil, _ play: (Stage) async throws -> Void
    ) async throws {
        await self.waitForCalm()
        let surroundings = try Surroundings(kernel, pidFile, configure, patience)
        // Making one waits for the predecessor.
        let making = Task { try await Self.make(surroundings, predecessor) }
        let greeted: Result<Void, any Error>
        do {
            if let greeting { try await greeting(predecessor) } else { try await predecessor.handOver(.empty) }
            greeted = .success(())
        } catch {
            greeted = .failure(error)
        }
        // Why there is no upgrader says more than that it did not answer.
        let stage = try await making.value
        try await stage.finish { stage in
            try greeted.get()
            do {
                try await play(stage)
            } catch {
                try await predecessor.die()
                throw error
            }
            // It waits for nobody then.
            try await predecessor.die()
        }
    }

    /// What goes wrong before there is an upgrader.
    static func failureOfSuccessor(_ kernel: Kernel, of predecessor: FakePredecessor) async throws -> UpgradeError {
        await self.waitForCalm()
        let surroundings = try Surroundings(kernel, nil) { _ in }
        do {
            let stage = try await Self.make(surroundings, predecessor)
            try await stage.finish { _ in }
        } catch let error as UpgradeError {
            return error
        }
        throw TimedOut(what: "a failure: it took over")
    }

    private static func make(_ surroundings: Surroundings, _ predecessor: FakePredecessor) async throws -> Stage {
        try await onItsOwnThread { try Stage(surroundings, upstream: predecessor.takeOtherEnd()) }
    }

    // MARK: Asking

    func requestUpgrade() -> Outcome<UpgradeReport> {
        Outcome { [upgrader] () throws(UpgradeError) in try await upgrader.upgrade() }
    }

    func requestReady() -> Outcome<Void> {
        Outcome { [upgrader] () throws(UpgradeError) in try await upgrader.ready() }
    }

    /// Returns when the engine has done everything that it was about to do.
    func fence() async throws {
        // Twice: what the first round has caused is done in the second.
        for _ in 0..<2 {
            let answered = Latch<Void>()
            if self.context.facts.current.isServing {
                // Too late to be ready, and answered at once.
                self.context.inbox.send(.ready { _ in answered.set(()) })
            } else {
                // Too early to hand a connection on, and answered at once.
                self.context.inbox.send(.export([]) { _ in answered.set(()) })
            }
            try await answered.value("the engine")
        }
    }

    /// Puts several things into the inbox, for the engine to find all at once.
    func sendTogether(_ inputs: [EngineInput]) async throws {
        try await self.whileHeldUp { for input in inputs { self.context.inbox.send(input) } }
    }

    /// Holds the engine up: it finds all at once what has arrived meanwhile.
    func whileHeldUp(_ body: () async throws -> Void) async throws {
        let isBusy = Latch<Void>()
        let mayGoOn = DispatchSemaphore(value: 0)
        // The answer to a question comes on the engine's own thread, and holds it up.
        self.context.inbox.send(
            .export([]) { _ in
                isBusy.set(())
                mayGoOn.wait()
            }
        )
        try await isBusy.value("the engine")
        defer { mayGoOn.signal() }
        try await body()
    }

    // MARK: The end

    private func finish(after play: (Stage) async throws -> Void) async throws {
        do {
            try await play(self)
        } catch {
            try await self.finish()
            throw error
        }
        try await self.finish()
    }

    private func finish() async throws {
        let isOver = try await onItsOwnThread { [upgrader, exitNow] in
            for _ in 0..<300 {
                // One may be too early to mean now.
                upgrader.stop()
                if readable(exitNow.descriptor, within: .milliseconds(200)) { return true }
            }
            return false
        }
        try await onItsOwnThread { [spawner] in spawner.bury() }
        #expect(isOver, "the engine did not end")
    }
}

extension Patience {
    /// What the test plays, and when its own threads run, is not the engine's affair: a busy machine must not be taken for
    /// something that hangs. Where it is the deadline that is tested, the test says how short it is.
    static var ofTests: Patience {
        var patience = Patience()
        patience.generous = .seconds(60)
        patience.clients = .seconds(60)
        patience.looks = 240
        return patience
    }
}

/// What an engine needs, before there is one.
private struct Surroundings: Sendable {
    let kernel: Kernel
    let context: EngineContext
    let spawner: FakeSpawner
    let log = RecordedLog()
    let exited = Latch<CInt>()
    let exitNow: WakeUp

    init(
        _ kernel: Kernel, _ pidFile: PIDFile?, _ configure: (inout Upgrader.Configuration) -> Void,
        _ patience: Patience = .ofTests, _ manager: NotifySocket? = nil,
        _ atStep: (@Sendable (EngineStep, ChannelSocket?) -> Void)? = nil,
        _ metrics: any MetricsFactory = MetricsSystem.factory
    ) throws {
        var configuration = Upgrader.Configuration(signals: .none)
        // A busy machine must not be taken for a reader or a hook that is stuck.
        configuration.pauseTimeout = .seconds(30)
        configuration.hookTimeout = .seconds(30)
        configure(&configuration)
        let spawner = FakeSpawner(kernel)
        let exited = self.exited
        let exitNow = try WakeUp()
        self.kernel = kernel
        self.spawner = spawner
        self.exitNow = exitNow
        var context = try EngineContext(
            configuration: configuration, logger: self.log.logger, capabilities: kernel.capabilities, spawner: spawner,
            program: { _ throws(UpgradeError) in
                SpawnRequest(
                    executable: try ExecutablePath(finding: "/bin/sh", from: "/"),
                    arguments: CStrings([Array("service".utf8), Array("--flag".utf8)]),
                    environment: CStrings([Array("A=1".utf8)]), directory: "/"
                )
            },
            exitNow: {
                exited.set($0)
                exitNow.signal()
            },
            pidFile: pidFile, factory: metrics
        )
        context.trial.patience = patience
        context.trial.atStep = atStep
        context.manager = manager
        self.context = context
    }
}

/// Everything that an upgrader said happened.
final class EventLog: Sendable {
    private let seen = Mutex<[UpgradeEvent]>([])
    private let latches = Mutex<[UpgradeEvent.Phase: Latch<UpgradeEvent>]>([:])

    init(_ events: UpgradeEvents) {
        Task { [weak self] in
            for await event in events {
                guard let self else { return }
                self.seen.withLock { $0.append(event) }
                self.latch(event.phase).set(event)
            }
        }
    }

    var all: [UpgradeEvent] { self.seen.withLock { $0 } }
    var phases: [UpgradeEvent.Phase] { self.all.map(\.phase) }

    /// The first event of a phase, once it has come.
    func first(_ phase: UpgradeEvent.Phase) async throws -> UpgradeEvent {
        try await self.latch(phase).value("the event \(phase)")
    }

    private func latch(_ phase: UpgradeEvent.Phase) -> Latch<UpgradeEvent> {
        self.latches.withLock { latches in
            if let latch = latches[phase] { return latch }
            let latch = Latch<UpgradeEvent>()
            latches[phase] = latch
            return latch
        }
    }
}
