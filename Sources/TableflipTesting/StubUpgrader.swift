// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

public import Logging
import Synchronization
public import Tableflip
import TableflipSystem

/// An upgrader for unit tests: no process is started, no signal is received, and this process is never ended.
///
/// It is the true upgrader with the true protocol. Only the successors are played, by a thread of this process, in the
/// way that the test says. Sockets are bound as ever: use port 0.
///
/// ```swift
/// let stub = try StubUpgrader()
/// let service = try await Service(stub.upgrader)      // listens, and calls ready()
/// stub.nextSuccessor(.exits(status: 1))
/// await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
/// // … the service still serves …
/// try await stub.upgrader.upgrade()                   // by default a successor takes over
/// await service.hasDrained()
/// ```
///
/// There may be several in a process, in parallel tests. All methods may be called from any task or thread. Each has a thread
/// and its sockets until it was told to stop twice (``Tableflip/Upgrader/stop()``), or for as long as the process lives.
public final class StubUpgrader: Sendable {
    /// What a successor does.
    public enum Play: Hashable, Sendable {
        /// It becomes ready at once and takes over.
        case takesOver
        /// It exits while it initialises.
        case exits(status: Int32)
        /// A signal ends it while it initialises.
        case isKilled(signal: Int32)
        /// It is never ready: it is killed when ``Upgrader/Configuration/upgradeTimeout`` is over.
        case hangs
        /// It gives up in words, and exits.
        case givesUp(String)
        /// It serves, and gives the service back, in words, when it is to become the owner.
        case handsBack(String)
        /// It serves, and gives the service back, in words, in its probation; it has one of a minute, unless the
        /// configuration or the upgrade says another.
        case failsProbation(String)
        /// It serves, and a signal ends it in its probation.
        case crashesInProbation(signal: Int32)
        /// It cannot even be started.
        case cannotStart(UpgradeError)
    }

    /// A successor that was asked for.
    public struct Start: Hashable, Sendable {
        /// The program that would have been started.
        public var executable: String
        /// Its arguments, from `argv[0]` on. Bytes that are not UTF-8 are replaced.
        public var arguments: [String]
        /// Its variables, as `NAME=value`.
        public var environment: [String]
        /// Where it would have started.
        public var directory: String
        /// What it did.
        public var play: Play
    }

    /// What the program under test gets.
    public let upgrader: Upgrader
    private let stage = Stage()

    /// Makes a first process.
    /// - Parameters:
    ///   - configuration: as for a true upgrader, but that its signals mean nothing. Time-outs can be short. The successors
    ///     have it as well: they serve through its probation, and pass its check before they take over.
    ///   - logger: where the upgrader logs; by default nowhere.
    /// - Throws: ``UpgradeError`` with the code `invalidConfiguration`.
    public convenience init(
        configuration: Upgrader.Configuration = .init(),
        logger: Logger = Logger(label: "stub") { _ in SwiftLogNoOpLogHandler() }
    ) throws(UpgradeError) {
        try self.init(configuration: configuration, logger: logger, patience: Patience())
    }

    /// For tests on a busy machine.
    package init(
        configuration: Upgrader.Configuration, logger: Logger, patience: Patience
    ) throws(UpgradeError) {
        let stage = self.stage
        self.upgrader = try Upgrader(
            actingOn: configuration, logger: logger, capabilities: .current,
            spawner: PlayedSpawner(stage: stage, probation: configuration.probation),
            signal: { _, signal in stage.current?.end(.signalled(signal)) },
            exitNow: { status in stage.exitStatus = status }, patience: patience
        )
    }

    /// Says what the next successor does that has no play yet; by default it takes over.
    /// - Parameter play: what it does.
    public func nextSuccessor(_ play: Play) { self.stage.plan(play) }

    /// Every successor that was asked for, in order.
    public var starts: [Start] { self.stage.starts }

    /// The status that this process would have ended with: the drain time was over, or a second stop meant now. nil as
    /// long as it would live.
    public var exitStatus: Int32? { self.stage.exitStatus }
}

/// What happens behind the scenes.
final class Stage: Sendable {
    private struct State {
        var plays: [StubUpgrader.Play] = []
        var starts: [StubUpgrader.Start] = []
        var current: PlayedSuccessor?
        var exitStatus: Int32?
    }

    private let state = Mutex(State())

    func plan(_ play: StubUpgrader.Play) { self.state.withLock { $0.plays.append(play) } }

    func nextPlay() -> StubUpgrader.Play {
        self.state.withLock { $0.plays.isEmpty ? .takesOver : $0.plays.removeFirst() }
    }

    func started(_ start: StubUpgrader.Start, _ successor: PlayedSuccessor?) {
        self.state.withLock {
            $0.starts.append(start)
            $0.current = successor
        }
    }

    var starts: [StubUpgrader.Start] { self.state.withLock { $0.starts } }
    var current: PlayedSuccessor? { self.state.withLock { $0.current } }
    var exitStatus: Int32? {
        get { self.state.withLock { $0.exitStatus } }
        set { self.state.withLock { $0.exitStatus = newValue } }
    }
}
