// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem

extension Upgrader {
    /// How a process takes over, hands over and stops.
    public struct Configuration: Sendable {
        /// What becomes of an upgrade that is asked for while the process before this one still drains. There are never
        /// more than two processes.
        public enum Overlap: Hashable, Sendable {
            /// It is refused, by the error `predecessorAlive`. That process has a second to leave before: one that has
            /// nothing left to finish does.
            case refuse
            /// It begins when that process has left; ``drainTimeout`` bounds that. One upgrade can wait, another one is
            /// refused by the error `upgradeRunning`; a stop ends the wait by the error `stopping`.
            case wait
        }

        /// The file that names the process in charge; nil for none. A relative path counts from the directory the
        /// process started in. It is written whole, when the process becomes the owner of the service and not before,
        /// and removed when the service stops, or has been taken over by a process with another one. What is there and no
        /// regular file is not replaced, and a first process replaces only a file that names a process, or nothing:
        /// ``Upgrader/ready()`` throws the error `pidFile`. A symbolic link in its place is replaced, not followed.
        public var pidFile: String?

        /// How long a successor may take from its start until it is ready. Then it is killed, and the old process goes
        /// on.
        public var upgradeTimeout: Duration

        /// How long a process may take, once told to leave, to finish what it has begun. Then it is ended.
        public var drainTimeout: Duration

        /// How long the readers of one process may take to pause; nobody accepts meanwhile. Then the upgrade is given up.
        /// At most 30 seconds: neither process knows the other's value, and each waits for the other's readers for as long
        /// as they may have.
        public var pauseTimeout: Duration

        /// How long all hooks of one kind may take together (``Upgrader/addOwnershipHooks(becameOwner:losingOwnership:)``),
        /// and all vetoes (``Upgrader/addUpgradeVeto(_:)``). Then they are cancelled. At most 30 seconds: a successor does
        /// not know its predecessor's value, and must not take a process whose hooks take their time for one that hangs.
        public var hookTimeout: Duration

        /// Which signals upgrade and stop.
        public var signals: UpgradeSignals

        /// How the next generation is started: by default as this process was.
        public var successor: Successor

        /// What becomes of an upgrade that is asked for while the process before this one still drains.
        public var overlap: Overlap

        /// Where `tableflipctl` reaches the service; nil for nowhere.
        public var controlSocket: ControlSocket?

        /// What the application calls its version; `tableflipctl status` shows it. It decides nothing.
        public var version: String

        /// What this process, as a successor, must show before it becomes the owner; by default nothing.
        public var probation: Probation

        /// Whether the owner leaves duplicates of its sockets and named states with the service manager, which passes them
        /// to the next process if this one dies: then the connections that wait in a socket's queue are not lost with it.
        /// systemd does so for a unit with `FileDescriptorStoreMax=` (systemd.service(5)); nobody else minds. They come
        /// back by the same calls as what a predecessor hands over. A state is as old as the moment at which its process
        /// became the owner, or its predecessor left.
        public var storesDescriptors: Bool

        /// Makes a configuration.
        /// - Parameters:
        ///   - pidFile: see ``pidFile``.
        ///   - upgradeTimeout: see ``upgradeTimeout``; one minute, as in tableflip.
        ///   - drainTimeout: see ``drainTimeout``.
        ///   - pauseTimeout: see ``pauseTimeout``.
        ///   - hookTimeout: see ``hookTimeout``.
        ///   - signals: see ``signals``.
        ///   - successor: see ``successor``.
        ///   - overlap: see ``overlap``; by default refused, as in tableflip.
        ///   - probation: see ``probation``; by default none, as in tableflip.
        ///   - controlSocket: see ``controlSocket``.
        ///   - version: see ``version``.
        ///   - storesDescriptors: see ``storesDescriptors``.
        public init(
            pidFile: String? = nil, upgradeTimeout: Duration = .seconds(60), drainTimeout: Duration = .seconds(30),
            pauseTimeout: Duration = .seconds(1), hookTimeout: Duration = .seconds(5),
            signals: UpgradeSignals = .standard, successor: Successor = .init(), overlap: Overlap = .refuse,
            probation: Probation = .none, controlSocket: ControlSocket? = nil, version: String = "",
            storesDescriptors: Bool = false
        ) {
            self.pidFile = pidFile
            self.upgradeTimeout = upgradeTimeout
            self.drainTimeout = drainTimeout
            self.pauseTimeout = pauseTimeout
            self.hookTimeout = hookTimeout
            self.signals = signals
            self.successor = successor
            self.overlap = overlap
            self.probation = probation
            self.controlSocket = controlSocket
            self.version = version
            self.storesDescriptors = storesDescriptors
        }

        static let longestPauseTimeout = Duration.seconds(30)
        static let longestHookTimeout = Duration.seconds(30)

        static func check(
            _ timeout: Duration, _ name: String, upTo limit: Duration = .seconds(86_400 * 365),
            _ words: String = "a year"
        ) throws(UpgradeError) {
            guard timeout <= .zero || timeout > limit else { return }
            throw UpgradeError(
                .invalidConfiguration, "\(name) is \(timeout)", cure: "Give it a time above zero, up to \(words).",
                serving: .nobody
            )
        }

        func validate() throws(UpgradeError) {
            try Self.check(self.upgradeTimeout, "upgradeTimeout")
            try Self.check(self.drainTimeout, "drainTimeout")
            try Self.check(self.pauseTimeout, "pauseTimeout", upTo: Self.longestPauseTimeout, "half a minute")
            try Self.check(self.hookTimeout, "hookTimeout", upTo: Self.longestHookTimeout, "half a minute")
            try self.probation.validate()
            if let path = self.pidFile, path.isEmpty || path.hasSuffix("/") || path.utf8.contains(0) {
                throw UpgradeError(
                    .invalidConfiguration, "pidFile is \"\(path)\", which names no file",
                    cure: "Give it a path such as /run/hello.pid, or nil for none.", serving: .nobody
                )
            }
            try self.controlSocket?.validate()
            do throws(UpgradeError) { try self.successor.validate() } catch { throw error.whileServing(.nobody) }
            for signal in self.signals.upgrade + self.signals.stop where !ProcessID.canHandle(signal: signal) {
                throw UpgradeError(
                    .invalidConfiguration, "signal \(signal) cannot be handled",
                    cure: "Name signals of signal(7), other than SIGKILL and SIGSTOP.", serving: .nobody
                )
            }
            if let overlap = self.signals.upgrade.first(where: { self.signals.stop.contains($0) }) {
                throw UpgradeError(
                    .invalidConfiguration, "signal \(overlap) is to upgrade and to stop", serving: .nobody
                )
            }
        }
    }
}
