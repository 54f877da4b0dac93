// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
public import ServiceLifecycle
import Synchronization
public import Tableflip

/// Runs a service only while this process is the owner: what must run once, and not in two processes of one service for
/// the moment of an upgrade. A queue's consumer, a scheduler of jobs.
///
/// ```swift
/// let consumer = WhileOwner(upgrader) { QueueConsumer(database) }
/// try await upgrader.runServices([database, consumer, server], logger: logger) { try await server.isListening() }
/// ```
///
/// The service is started when this process becomes the owner. When a successor is to become the owner it is shut down
/// gracefully, and the successor hears of it when the service has ended. After
/// ``Tableflip/Upgrader/Configuration/hookTimeout`` it is cancelled; if that does not end it either, the upgrade is given
/// up. Where the successor fails after that, a new one is made and started.
///
/// A service that returns by itself is not started again as long as this process stays the owner, and the others go on;
/// one that throws ends the group, as any service. One that throws while it ends is logged, for the others have work to
/// finish; where the process was told to stop ``Tableflip/Upgrader/runServices(_:logger:whenPrepared:)`` throws that error
/// when they have.
public struct WhileOwner: Service {
    private let upgrader: Upgrader
    private let makeService: @Sendable () -> any Service
    private let outcome = Outcome()

    /// What the last term failed at when it was to end.
    private final class Outcome: Sendable {
        let failure = Mutex<(any Error)?>(nil)
    }

    var failure: (any Error)? { self.outcome.failure.withLock { $0 } }

    /// Makes a service that runs another.
    /// - Parameters:
    ///   - upgrader: says whether this process is the owner.
    ///   - makeService: makes the service, anew each time.
    public init(_ upgrader: Upgrader, _ makeService: @escaping @Sendable () -> any Service) {
        self.upgrader = upgrader
        self.makeService = makeService
    }

    /// Runs the service as often as this process is the owner; returns when the group is shut down.
    /// - Throws: what the service throws.
    public func run() async throws {
        let terms = OwnerTerms()
        let (makeService, logger) = (self.makeService, self.upgrader.logger)
        self.upgrader.addOwnershipHooks(
            becameOwner: { terms.begin(OwnerTerm(makeService(), logger: logger)) },
            losingOwnership: { await terms.end() }
        )
        defer { terms.close() }
        try await withTaskCancellationOrGracefulShutdownHandler {
            for await term in terms.coming {
                if Task.isShuttingDownGracefully { break }
                let failure = try await term.serve()
                self.outcome.failure.withLock { $0 = failure }
            }
        } onCancelOrGracefulShutdown: {
            terms.expectNoMore()
        }
    }
}
#endif
