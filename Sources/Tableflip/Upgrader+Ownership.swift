// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension Upgrader {
    /// Adds work that only one process may do: cron jobs, queue consumers, locks, migrations. Of two processes of one
    /// service one is the owner, and never both.
    ///
    /// ```swift
    /// upgrader.addOwnershipHooks(
    ///     becameOwner: { try await consumer.start() },
    ///     losingOwnership: { await consumer.stopAndWait() }
    /// )
    /// ```
    ///
    /// `becameOwner` is called in a first process before ``ready()`` returns, and in a successor when its predecessor
    /// has given the ownership up, which is before or after `ready()` has returned: where there is no probation, mostly
    /// before, and then `ready()` returns when the hook has. So it must not wait for what the program does after
    /// `ready()`. Where this process is the owner already, it is called at once.
    /// `losingOwnership` is called when a successor has passed its probation and is to become the owner, and when this
    /// process stops, before ``exit`` has its value. It returns when the work has ended: then the successor is told.
    /// If the successor fails after that, `becameOwner` is called again. So the two are called in turn, each by a task of
    /// the upgrader's and never at the same time; those of several calls one after the other, `losingOwnership` from the
    /// last to the first.
    ///
    /// If `becameOwner` throws or overruns ``Configuration/hookTimeout`` in a successor, what had begun ends again and the
    /// predecessor goes on; in a first process `ready()` throws. If `losingOwnership` does, the upgrade is given up, and
    /// this process stays the owner. A hook that overruns is cancelled and has five more seconds to return; if it does
    /// not, a successor is ended, and a predecessor stays the owner.
    ///
    /// One exception is left: a process that was suspended (SIGSTOP) for so long that its successor took over without it
    /// learns of it only when it goes on, and stops its work then. Who cannot bear that takes a lock as well.
    /// - Parameters:
    ///   - becameOwner: begins the work.
    ///   - losingOwnership: ends it.
    public func addOwnershipHooks(
        becameOwner: @escaping @Sendable () async throws -> Void,
        losingOwnership: @escaping @Sendable () async throws -> Void
    ) {
        self.context.hooks.add(begin: becameOwner, end: losingOwnership)
        self.context.inbox.send(.hooksAdded)
    }

    /// Whether this process owns the service: from just before `becameOwner` is called until just before
    /// `losingOwnership` is (``addOwnershipHooks(becameOwner:losingOwnership:)``).
    public var isOwner: Bool { self.context.facts.current.isOwner }

    /// Lets the program refuse an upgrade before anything is started: in the middle of a migration, say.
    ///
    /// Whoever asked for the upgrade gets the error `vetoed` with the words of what was thrown. The vetoes are asked one
    /// after the other at each request, and have ``Configuration/hookTimeout`` together; who does not answer in that time
    /// refuses.
    /// - Parameter veto: throws to refuse.
    public func addUpgradeVeto(_ veto: @escaping @Sendable () async throws -> Void) {
        self.context.hooks.add(veto: veto)
    }
}
