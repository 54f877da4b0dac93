// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
public import ServiceLifecycle
public import Tableflip

/// The upgrader as a service of a `ServiceGroup`: the group runs until this process has been replaced or is to stop, and
/// is then shut down gracefully.
///
/// ```swift
/// let upgrader = try Upgrader(configuration: .init(pidFile: "/run/hello.pid"), logger: logger)
/// let service = UpgraderService(upgrader: upgrader, whenPrepared: { try await server.isListening() })
/// let group = ServiceGroup(
///     configuration: .init(services: [.init(service: database), .init(service: server), service.configuration],
///     logger: logger)
/// )
/// try await group.run()
/// ```
///
/// **It comes last.** A group shuts its services down one after the other, from the last to the first, and takes one that
/// ends out of turn for a failure. The upgrader is the one that ends by itself: anywhere else in the list, a stop that
/// meets an upgrade would cancel work in flight. Servers that drain by themselves are put into ``DrainingService``.
///
/// **The signals are the upgrader's** (``Tableflip/Upgrader/Configuration/signals``: SIGHUP upgrades, SIGTERM and SIGINT
/// stop). Their handlers are installed when the upgrader is made, long before a group would trap any, so that none is
/// lost while the services start. Leave the group's `gracefulShutdownSignals` and `cancellationSignals` empty, or
/// without those: of two handlers of one signal the later one hears it alone.
///
/// **A service that fails in a successor** before that serves cancels the group, and this service can only say that the
/// process was told to stop. So that the upgrade fails in the right words, such a service calls
/// `upgrader.giveUp(because: error)` before it throws. ``Tableflip/Upgrader/runServices(_:logger:whenPrepared:)`` tells
/// them by itself.
///
/// **The drain's deadline is the upgrader's** as well (``Tableflip/Upgrader/Configuration/drainTimeout``): it ends the
/// process. A shorter `maximumGracefulShutdownDuration` of the group cancels what is left before that.
public struct UpgraderService: Service {
    /// Waits until the services of this process are prepared to serve.
    public typealias Preparation = @Sendable () async throws -> Void

    private let upgrader: Upgrader
    private let whenPrepared: Preparation?
    /// What a cancellation comes from, where that is known.
    var failureOfOthers: FirstFailure?

    /// Makes a service of an upgrader.
    /// - Parameters:
    ///   - upgrader: the upgrader. Only this service may call its `ready()`.
    ///   - whenPrepared: returns when the other services are prepared: all start at the same time, so the order of the
    ///     list says nothing about that. Then this process takes over. If it throws, this process does not come to
    ///     serve: a predecessor goes on, and is told the error's words. It is cancelled when the process is to leave
    ///     before. By default nothing is waited for: right where everything was prepared before the group runs.
    public init(upgrader: Upgrader, whenPrepared: Preparation? = nil) {
        self.upgrader = upgrader
        self.whenPrepared = whenPrepared
    }

    /// What a group needs to know: when this service ends, well or badly, all the others are shut down gracefully. To be
    /// put last in the list.
    public var configuration: ServiceGroupConfiguration.ServiceConfiguration {
        ServiceGroupConfiguration.ServiceConfiguration(
            service: self, successTerminationBehavior: .gracefullyShutdownGroup,
            failureTerminationBehavior: .gracefullyShutdownGroup, serviceName: "upgrader"
        )
    }

    /// Takes over when the other services are prepared, and returns when this process should leave: it was replaced, told
    /// to stop, or has handed the service back to its predecessor.
    ///
    /// A graceful shutdown of the group, and a cancellation, stop the upgrader, unless it is leaving already; that is waited
    /// for, and takes as long as the hooks that end the ownership do.
    /// - Throws: ``UpgradeError`` when this process could not take over, `whenPrepared`'s own error, and
    ///   `CancellationError`.
    public func run() async throws {
        try await withTaskCancellationOrGracefulShutdownHandler {
            try await self.prepare()
            do throws(UpgradeError) {
                try await self.upgrader.ready()
            } catch {
                // What a process fails at that has to leave for it, `exit` says as well, when it may leave.
                if error.code == .wrongMoment, self.upgrader.exitReason == nil {
                    // Somebody else has called it. The others wait for `exit`, and would for ever.
                    self.upgrader.leave()
                    _ = await self.exit()
                    throw error
                }
            }
            if case .failed(let failure) = await self.exit() { throw failure }
            try Task.checkCancellation()
        } onCancelOrGracefulShutdown: {
            if let failure = self.failureOfOthers?.current {
                self.upgrader.leave(because: failure)
            } else {
                self.upgrader.leave()
            }
        }
    }

    /// Not cut short by a cancellation: what only an owner does has yet to end.
    private func exit() async -> ExitReason { await Task { await self.upgrader.exit }.value }

    /// Returns also when this process is to leave before it was prepared.
    private func prepare() async throws {
        guard let whenPrepared = self.whenPrepared else { return }
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await whenPrepared() }
                group.addTask { _ = await self.upgrader.exit }
                try await group.next()
                group.cancelAll()
            }
        } catch {
            guard self.upgrader.exitReason == nil, !Task.isCancelled else { return }
            // Whoever starts this group may end the process next.
            await self.upgrader.giveUp(
                .init(.initialisationFailed, "the application could not prepare to serve", becauseOf: error))
            throw error
        }
    }
}
#endif
