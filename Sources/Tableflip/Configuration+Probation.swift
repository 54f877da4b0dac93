// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

extension Upgrader.Configuration {
    /// What a successor that serves already must show before it becomes the owner of the service.
    ///
    /// ```swift
    /// .init(probation: .lasting(.seconds(5)))                            // live for that long
    /// .init(probation: .passing(within: .seconds(5)) { try await selfTest() })   // or be well by then
    /// ```
    ///
    /// Meanwhile the old process is there, with every listener open and its readers paused. If the new one dies, hangs up,
    /// or gives the service back, the old one reads again within milliseconds, and connections that nobody had accepted
    /// wait in the queue until then. The upgrade has then failed by an error whose ``UpgradeError/isRollback`` is true, and
    /// the next one can follow.
    ///
    /// It is a property of the new code: each process passes its own probation, whatever its predecessor was configured
    /// with; ``Upgrader/upgrade(startingWith:timeout:probation:)`` can ask for another duration. A first process has none.
    /// Only what reads through a registered ``SocketReader`` can be given back.
    public struct Probation: Sendable {
        /// How long it lasts, up to a day; with a check, how long the check may take. Zero is no probation.
        public var duration: Duration
        /// Called by a task of the upgrader's when this process serves. When it returns, the process becomes the owner,
        /// without waiting for the rest of the duration; when it throws, or has not returned in time (then its task is
        /// cancelled), the service goes back to the old process. nil: to be alive when the time is over is enough.
        public var check: (@Sendable () async throws -> Void)?

        /// Makes a probation.
        /// - Parameters:
        ///   - duration: see ``duration``.
        ///   - check: see ``check``.
        public init(duration: Duration, check: (@Sendable () async throws -> Void)? = nil) {
            self.duration = duration
            self.check = check
        }

        /// The successor becomes the owner at once: as tableflip does it.
        public static let none = Probation(duration: .zero)

        /// The successor is to serve for a while without dying.
        /// - Parameter duration: see ``duration``.
        /// - Returns: the probation.
        public static func lasting(_ duration: Duration) -> Probation { Probation(duration: duration) }

        /// The successor is to pass a check of its own.
        /// - Parameters:
        ///   - duration: how long the check may take.
        ///   - check: see ``check``.
        /// - Returns: the probation.
        public static func passing(
            within duration: Duration, _ check: @escaping @Sendable () async throws -> Void
        ) -> Probation {
            Probation(duration: duration, check: check)
        }

        static let longest = Duration.milliseconds(WireLimit.probationMilliseconds)

        package var kind: TableflipCore.Probation {
            self.duration <= .zero ? .none : self.check == nil ? .timed : .checked
        }

        func validate() throws(UpgradeError) {
            guard self.check == nil || self.duration > .zero else {
                throw UpgradeError(
                    .invalidConfiguration, "probation has a check and no time for it (\(self.duration))",
                    cure: "Give it a duration above zero, up to a day.", serving: .nobody
                )
            }
            try Self.validate(self.duration)
        }

        static func validate(_ duration: Duration) throws(UpgradeError) {
            guard duration < .zero || duration > self.longest else { return }
            throw UpgradeError(
                .invalidConfiguration, "probation is \(duration)", cure: "Give it a time from zero up to a day.",
                serving: .nobody
            )
        }
    }
}
