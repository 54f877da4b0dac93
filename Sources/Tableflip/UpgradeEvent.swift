// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Something that happened on the way from one generation to the next, as this process saw it.
public struct UpgradeEvent: Hashable, Sendable {
    /// What happened. Phases may be added: a `switch` over them needs a `default`.
    public struct Phase: Hashable, Sendable, CustomStringConvertible {
        /// The name, as logs and tools print it.
        public let description: String

        private init(_ description: String) { self.description = description }

        // MARK: In the predecessor, in this order

        /// An upgrade was asked for and waits until the process before this one has left: ``Upgrader/Configuration/Overlap``.
        public static let waiting = Phase("waiting")
        /// An upgrade was asked for and begins.
        public static let requested = Phase("requested")
        /// The successor's process runs.
        public static let spawned = Phase("spawned")
        /// The successor holds every descriptor, and initialises.
        public static let handedOver = Phase("handedOver")
        /// The successor is ready, and holds the same sockets.
        public static let ready = Phase("ready")
        /// The readers of this process have paused, and the successor was told to go.
        public static let go = Phase("go")
        /// The successor serves, and this process watches: ``Upgrader/Configuration/Probation``.
        public static let probation = Phase("probation")
        /// The successor owns the service. This process drains.
        public static let committed = Phase("committed")
        /// The upgrade failed before the successor served, and this process serves; or, with the error `stopping`, this
        /// process was told to stop, at any point of the upgrade. ``UpgradeEvent/error`` says why.
        public static let failed = Phase("failed")
        /// The upgrade failed when the successor served already; ``UpgradeEvent/error`` says why. This process serves
        /// again.
        public static let rolledBack = Phase("rolledBack")
        /// An upgrade was asked for and not begun; ``UpgradeEvent/error`` says why.
        public static let refused = Phase("refused")

        // MARK: In the successor, in this order

        /// Everything the predecessor had is here.
        public static let inherited = Phase("inherited")
        /// This process serves.
        public static let serving = Phase("serving")
        /// This process owns the service: PID file and all.
        public static let owner = Phase("owner")
        /// The predecessor's process has ended.
        public static let predecessorLeft = Phase("predecessorLeft")
        /// This process gave the service back to its predecessor.
        public static let handedBack = Phase("handedBack")

        // MARK: In either

        /// This process was told to stop.
        public static let stopping = Phase("stopping")
        /// The drain time-out has passed; the process ends.
        public static let drainOverran = Phase("drainOverran")
    }

    /// What happened.
    public var phase: Phase
    /// The generation of this process; the first is 1.
    public var generation: Int
    /// The other process; 0 where there is none or its id is not known yet.
    public var peer: Int32
    /// In a predecessor, from ``Phase/requested`` to ``Phase/committed``, ``Phase/failed`` or ``Phase/rolledBack``: since the
    /// upgrade was asked for. For every other phase: since the upgrader of this process was made.
    public var elapsed: Duration
    /// Why, for the phases that tell of a failure.
    public var error: UpgradeError?
    /// It is of a rehearsal (`tableflipctl check --start`), and so of no upgrade.
    var isRehearsal = false
}

/// The events of one upgrader, from the moment this sequence was made.
///
/// Each sequence hears everything and is meant for one task. A reader that falls more than 256 events behind misses the
/// oldest.
public struct UpgradeEvents: AsyncSequence, Sendable {
    /// What it is made of.
    public typealias Element = UpgradeEvent
    let stream: AsyncStream<UpgradeEvent>

    /// Starts to read.
    /// - Returns: the iterator.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(base: self.stream.makeAsyncIterator()) }

    /// Reads one event after the other. It ends when its task is cancelled, and not before it has told everything that
    /// had happened by then: at the end of the program, cancel the task and wait for it.
    public struct AsyncIterator: AsyncIteratorProtocol {
        var base: AsyncStream<UpgradeEvent>.AsyncIterator

        /// Waits for the next event.
        /// - Returns: it, or nil when the task was cancelled and has heard everything.
        public mutating func next() async -> UpgradeEvent? { await self.base.next() }
    }
}
