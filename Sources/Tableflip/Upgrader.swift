// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

public import CoreMetrics
public import Logging
package import TableflipCore
package import TableflipSystem

/// Replaces this process with a new one without losing a connection.
///
/// ```swift
/// let upgrader = try Upgrader(configuration: .init(pidFile: "/run/hello.pid"), logger: logger)
/// let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 8080))  // inherited, or bound anew
/// // … prepare to serve on it …
/// try await upgrader.ready()      // from here on this process serves
/// _ = await upgrader.exit         // then drain and return from main
/// ```
///
/// Make one, early, in `main`: it takes over from a predecessor if there is one, which takes well under a millisecond
/// when there are few sockets, and waits at most ten seconds. All its methods may be called from any task or thread.
public final class Upgrader: Sendable {
    let context: EngineContext

    /// Takes over what a predecessor offers, or starts as the first process.
    ///
    /// From here on the signals of ``Configuration/signals`` no longer end the process by default, closed standard
    /// streams are open on /dev/null, and the private environment variable of the handshake is gone.
    /// - Parameters:
    ///   - configuration: how to upgrade.
    ///   - logger: where the upgrader says what it does: `info` for what an operator wants to see, `debug` for more.
    ///   - factory: where the upgrader counts what it does; by default what `MetricsSystem` was bootstrapped with before.
    /// - Throws: ``UpgradeError`` with the code `invalidConfiguration`; `alreadyCreated` for a second upgrader in one
    ///   process; `staleEnvironment`; `directoryMissing` where the current directory is gone; `addressInUse`,
    ///   `listenFailed` or `invalidAddress` of the control socket; `system`; or, in a successor, `predecessorLost`,
    ///   `predecessorAborted`, `predecessorMisbehaved`, `versionMismatch`. Print it and exit. In a successor the
    ///   predecessor goes on serving: it has been told why, and whoever asked for the upgrade is told by it.
    public convenience init(
        configuration: Configuration = .init(), logger: Logger, factory: any MetricsFactory = MetricsSystem.factory
    ) throws(UpgradeError) {
        try self.init(configuration: configuration, logger: logger, factory: factory, capabilities: .current)
    }

    package init(
        configuration: Configuration, logger: Logger, factory: any MetricsFactory = MetricsSystem.factory,
        capabilities: Capabilities, versions: ClosedRange<ProtocolVersion> = ProtocolVersion.supported,
        parenthood: Parenthood? = nil, trial: EngineTrial = EngineTrial()
    ) throws(UpgradeError) {
        let claim = try ProcessClaim()
        let channel = ProcessEnvironment.takeChannel()
        let numbers = configuration.signals.upgrade + configuration.signals.stop
        let signals: WakeUp
        do throws(UpgradeError) {
            let start = try ProcessStart(configuration)
            self.context = try Self.context(
                configuration, start, logger, factory, capabilities, versions: versions, parenthood, trial)
            signals = try UpgradeError.wrapping("signals cannot be received") { () throws(SystemCallError) in
                try WakeUp(receiving: numbers)
            }
        } catch {
            throw channel.refuse(error, capabilities)
        }
        do throws(UpgradeError) {
            try Self.start(self.context, channel, signals)
        } catch {
            // Nobody would read the pipe that their handlers write to.
            WakeUp.stopReceiving(numbers)
            throw error
        }
        claim.keep()
    }

    private static func context(
        _ configuration: Configuration, _ start: ProcessStart, _ logger: Logger, _ factory: any MetricsFactory,
        _ capabilities: Capabilities, versions: ClosedRange<ProtocolVersion>, _ parenthood: Parenthood?,
        _ trial: EngineTrial
    ) throws(UpgradeError) -> EngineContext {
        let manager = NotifySocket.ofEnvironment()
        var context = try EngineContext(
            configuration: configuration, logger: logger, capabilities: capabilities,
            spawner: (parenthood ?? (manager == nil ? .predecessor : .manager)).spawner(capabilities),
            program: { successor throws(UpgradeError) in try start.request(for: successor, of: configuration) },
            exitNow: { ProcessID.exitNow(status: $0) },
            pidFile: configuration.pidFile.map { PIDFile(path: start.absolute($0)) }, directory: start.directory,
            factory: factory
        )
        context.versions = versions
        context.manager = manager
        context.trial = trial
        return context
    }

    /// For tests: an upgrader whose surroundings are given.
    init(context: EngineContext, upstream: consuming OwnedDescriptor?, signals: WakeUp) throws(UpgradeError) {
        self.context = context
        try Self.run(context, upstream, signals: signals)
    }

    /// For programs that test programs: an upgrader that acts on nothing but what it is given. Neither signals nor the
    /// environment reach it, and there may be several in a process.
    package convenience init(
        actingOn configuration: Configuration, logger: Logger, capabilities: Capabilities,
        spawner: any ProcessSpawner, signal: @escaping @Sendable (_ process: CInt, _ signal: CInt) -> Void,
        exitNow: @escaping @Sendable (CInt) -> Void, patience: Patience
    ) throws(UpgradeError) {
        let start = try ProcessStart(configuration)
        var context = try EngineContext(
            configuration: configuration, logger: logger, capabilities: capabilities, spawner: spawner,
            program: { successor throws(UpgradeError) in try start.request(for: successor, of: configuration) },
            exitNow: exitNow,
            pidFile: configuration.pidFile.map { PIDFile(path: start.absolute($0)) }, directory: start.directory
        )
        context.signal = signal
        context.isProcessOne = false
        context.trial.patience = patience
        let signals = try UpgradeError.wrapping("no pipe") { () throws(SystemCallError) in try WakeUp() }
        try self.init(context: context, upstream: nil, signals: signals)
    }

    private static func start(
        _ context: EngineContext, _ channel: consuming ProcessEnvironment.Channel, _ signals: WakeUp
    ) throws(UpgradeError) {
        switch consume channel {
        case .none:
            context.sockets.pass(PassedDescriptors(PassedDescriptor.takeAll(), directory: context.directory))
            try self.run(context, nil, signals: signals)
        case .open(let upstream): try self.run(context, upstream, signals: signals)
        case .stale(let what):
            throw UpgradeError(
                .staleEnvironment, what,
                cure:
                    "It was inherited by mistake from a program that upgrades: start this one with the variable unset "
                    + "(env -u \(ProcessEnvironment.channelVariable)).",
                serving: .nobody
            )
        }
    }

    private static func run(
        _ context: EngineContext, _ upstream: consuming OwnedDescriptor?, signals: WakeUp
    ) throws(UpgradeError) {
        let engine = Engine(context: context, upstream: upstream, signals: signals)
        if engine.successor.phase == .initialising {
            context.predecessorLeft.set(())
        } else {
            try engine.receiveInventory()
        }
        try engine.openControl()
        do throws(UpgradeError) {
            try EngineThread.start(engine)
        } catch {
            throw context.facts.telling(error)
        }
    }

    // MARK: Sockets

    /// Registers what reads from the sockets; see ``SocketReader``. To be called before ``ready()``, which says that this
    /// process is prepared: a reader that comes later is resumed when it comes, if this process reads by then, and what
    /// went wrong with it does not fail `ready()`. The predecessor keeps its connections (``AdoptingReader``),
    /// and the log warns.
    /// - Parameter reader: the reader, paused.
    public func register(_ reader: some SocketReader) {
        if self.context.readers.add(reader) { self.context.inbox.send(.readerAddedLate(listener: reader.listenerName)) }
    }

    // MARK: Taking over

    /// Says that this process is prepared, and returns when it serves, or when it is told to stop before it does: then
    /// it never serves, and ``exit`` has its value. It returns likewise when the predecessor takes the service back at once:
    /// a reader may have accepted connections, which are to be finished.
    ///
    /// A first process serves at once. In a successor the predecessor compares the sockets of the two, pauses its
    /// readers and says go; then the readers of this process are resumed, and this returns: within milliseconds, and at
    /// most ``Configuration/pauseTimeout``, unless something fails. Ownership may come before this returns, and then the
    /// hooks are waited for (``addOwnershipHooks(becameOwner:losingOwnership:)``): they must not wait for what comes
    /// after it.
    /// - Throws: ``UpgradeError``: `pidFile`, `resumeFailed`, `stateVersion` and `stateFailed` (a final state),
    ///   `ownershipFailed` (a hook), `invalidConfiguration` (a group of sockets that has changed), or a successor's
    ///   `predecessorAborted` and the like. Then
    ///   exit; ``UpgradeError/serving`` tells who goes on. `rehearsed` is no failure: the successor was to come no further
    ///   (`tableflipctl check --start`). A second call throws `wrongMoment`.
    public nonisolated(nonsending) func ready() async throws(UpgradeError) {
        try await self.ask { .ready($0) }
    }

    /// Says that this process cannot come to serve. In a successor the upgrade fails in these words, which is what
    /// `tableflipctl upgrade` shows; without them it can only tell the exit status. The predecessor serves on. Returns when
    /// it has been told: then end the process.
    ///
    /// To be called instead of ``ready()``; afterwards it means nothing.
    /// - Parameter words: why, for people.
    public nonisolated(nonsending) func giveUp(because words: String) async {
        await self.giveUp(UpgradeError(.initialisationFailed, "the application cannot serve: \(words)"))
    }

    /// The same, in the words of an error. An ``UpgradeError`` gives its message and its cure.
    /// - Parameter error: why.
    public nonisolated(nonsending) func giveUp(because error: any Error) async {
        await self.giveUp(UpgradeError(.initialisationFailed, "the application cannot serve", becauseOf: error))
    }

    /// For adapters: the same, in their own words.
    package nonisolated(nonsending) func giveUp(_ failure: UpgradeError) async {
        // There is no other answer.
        try? await self.ask { (reply: @escaping Reply<Void>) in .giveUp(failure, reply) }
    }

    /// Whether this process was started by a predecessor in order to replace it, rather than being the first one.
    public var hasPredecessor: Bool { self.context.facts.current.hasPredecessor }

    /// Waits until the predecessor's process has ended; returns at once where there is none.
    /// - Throws: `CancellationError` when the task is cancelled.
    public func waitForPredecessor() async throws {
        if await self.context.predecessorLeft.wait() == nil { throw CancellationError() }
    }

    /// Which generation this process is, counted from 1.
    public var generation: Int { self.context.facts.current.generation }

    // MARK: Handing over

    /// Starts the program anew, hands everything over to it, and returns when it owns the service.
    ///
    /// Afterwards ``exit`` has a value: drain and return from `main`. If anything goes wrong this process serves on, and
    /// the next call starts afresh. While the process before this one still drains, ``Configuration/overlap`` says
    /// whether the upgrade is refused or waits.
    /// - Parameters:
    ///   - successor: how to start the program this time, instead of ``Configuration/successor``; nil: as configured.
    ///   - timeout: how long the successor may take this time until it is ready, instead of
    ///     ``Configuration/upgradeTimeout``; nil: as configured.
    ///   - probation: how long the successor's probation is to be this time, up to a day, zero being none; nil: as the
    ///     successor itself is configured (``Configuration/probation``). A check that it has stays.
    /// - Returns: who serves now, and how long it took.
    /// - Throws: ``UpgradeError``: `invalidConfiguration` for a time that cannot be; a refusal (`notReady`,
    ///   `upgradeRunning`, `predecessorAlive`, `successorAlive`, `replaced`, `stopping`, `vetoed`, `processOne`); or why
    ///   the successor did not come to serve, or, with ``UpgradeError/isRollback``, did not go on to.
    @discardableResult
    public nonisolated(nonsending) func upgrade(
        startingWith successor: Successor? = nil, timeout: Duration? = nil, probation: Duration? = nil
    ) async throws(UpgradeError) -> UpgradeReport {
        try await self.ask {
            .upgrade(UpgradeRequest(reply: $0, successor: successor, timeout: timeout, probation: probation))
        }
    }

    /// Ends the probation of a successor early and well: it becomes the owner now.
    /// - Returns: what the upgrade was like.
    /// - Throws: ``UpgradeError``: `wrongMoment` when no successor is in its probation, or why the upgrade failed all the
    ///   same.
    @discardableResult
    public nonisolated(nonsending) func commit() async throws(UpgradeError) -> UpgradeReport {
        try await self.ask { .commit($0) }
    }

    /// Takes a running upgrade back: the successor gives the service back, finishes what it has accepted and leaves. Returns
    /// when this process serves again. Whoever asked for the upgrade gets the error `rolledBack`.
    /// - Parameter words: why, for people; may be empty.
    /// - Throws: ``UpgradeError``: `wrongMoment` when no upgrade is running, `replaced` when the order came too late,
    ///   `stopping` when this process was told to stop before it served again.
    public nonisolated(nonsending) func rollBack(because words: String = "") async throws(UpgradeError) {
        try await self.ask { .rollBack(words, $0) }
    }

    /// Stops the service: ``exit`` gets its value, and the upgrader closes its sockets and removes Unix paths and PID
    /// file. A running upgrade is given up. The second call ends the process at once.
    public func stop() { self.context.inbox.send(.stop) }

    /// For adapters: as ``stop()``, but that it means nothing where this process is leaving already. So it never ends the
    /// process in the middle of its drain.
    package func leave() { self.context.inbox.send(.leave) }

    /// For adapters: the same. Where this process does not serve yet, this is why it never will; a predecessor is told.
    package func leave(because failure: UpgradeError) {
        self.context.inbox.send(.giveUp(failure) { _ in })
        self.leave()
    }

    /// For adapters: what ``exit`` waits for, or nil as long as this process should not leave.
    package var exitReason: ExitReason? { self.context.exit.current }

    /// For adapters.
    package var logger: Logger { self.context.logger }

    /// Waits until this process should leave. The application then stops accepting, finishes what it has begun and
    /// returns from `main`; after ``Configuration/drainTimeout`` the process is ended, with status 0 as if it had finished.
    ///
    /// In a task that is cancelled it is `.stopped` at once, whatever the service does: such a task should leave as well. Of
    /// the other calls that wait, only ``waitForPredecessor()`` and ``drained()`` end with their task: an upgrade that was
    /// begun goes on, and ``upgrade(startingWith:timeout:probation:)`` has a time-out of its own.
    public var exit: ExitReason {
        get async {
            // A latch answers nil only to a cancelled task, which should leave as well.
            await self.context.exit.wait() ?? .stopped
        }
    }

    /// Says that this process has drained, and returns when it may end: the counterpart of ``ready()``. To be called when
    /// what the application served has ended or moved to the successor; then return from `main`.
    ///
    /// Where the process was replaced, this waits until every reader's ``SocketReader/export(to:)`` has returned and the
    /// successor has been told that nothing more comes. A process that ends before that may leave a successor which takes
    /// connections for lost that have arrived. In any case what became of the connections is counted
    /// (``SocketReader/connectionCounts``). ``Configuration/drainTimeout`` bounds all of it.
    ///
    /// It waits for ``exit`` to have a value first, may be called more than once, and returns at once when its task is
    /// cancelled. `LiveServer.drained()` of TableflipNIO calls it.
    public func drained() async {
        if case .replaced = await self.exit { _ = await self.context.exported.wait() }
        self.context.countConnections()
    }

    // MARK: Watching

    /// What happens from now on; the first such sequence also has what happened before it was made.
    public var events: UpgradeEvents { self.context.events.subscribe() }

    /// On the caller's executor: a hop to Swift's pool would first have to start its threads, and a successor has none yet.
    private nonisolated(nonsending) func ask<Value: Sendable>(
        _ input: (@escaping Reply<Value>) -> EngineInput
    ) async throws(UpgradeError) -> Value {
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Value, UpgradeError>, Never>) in
            self.context.inbox.send(input { continuation.resume(returning: $0) })
        }
        return try result.get()
    }
}

extension ProcessEnvironment.Channel {
    /// Tells the predecessor, if there is one, why this process does not come as far as to greet it.
    /// - Returns: the same, with who serves.
    fileprivate consuming func refuse(_ error: UpgradeError, _ capabilities: Capabilities) -> UpgradeError {
        guard case .open(let upstream) = consume self else { return error.whileServing(.nobody) }
        ChannelSocket(takingOwnershipOf: upstream, capabilities: capabilities).send(.abort(Message.Abort(error)))
        return error.whileServing(.predecessor)
    }
}
