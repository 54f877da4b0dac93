// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
public import Logging
public import ServiceLifecycle
public import Tableflip

extension Upgrader {
    /// Runs services, takes over when they are prepared, and returns when they have been shut down: after this process
    /// was replaced or told to stop. Then return from `main`.
    ///
    /// ```swift
    /// let upgrader = try Upgrader(configuration: .init(pidFile: "/run/hello.pid"), logger: logger)
    /// try await upgrader.runServices([database, server], logger: logger) { try await server.isListening() }
    /// ```
    ///
    /// For groups that need more than a list, put an ``UpgraderService`` at the end of your own.
    /// - Parameters:
    ///   - services: the services, started together and shut down from the last to the first. One that ends by itself
    ///     or throws cancels the others, as always in a `ServiceGroup`. In a successor that does not serve yet, the
    ///     upgrade fails in its words.
    ///   - logger: the group's logger.
    ///   - whenPrepared: see ``UpgraderService/init(upgrader:whenPrepared:)``.
    /// - Throws: what a service threw, also a ``WhileOwner``'s that failed to end well in a process that was told to stop;
    ///   ``UpgradeError`` when this process could not take over.
    public func runServices(
        _ services: [any Service], logger: Logger, whenPrepared: UpgraderService.Preparation? = nil
    ) async throws {
        var service = UpgraderService(upgrader: self, whenPrepared: whenPrepared)
        let failure = FirstFailure()
        service.failureOfOthers = failure
        let watched = services.map { service in
            ServiceGroupConfiguration.ServiceConfiguration(
                service: WatchedService(service: service, failure: failure), serviceName: "\(service)")
        }
        let group = ServiceGroup(
            configuration: .init(services: watched + [service.configuration], logger: logger)
        )
        try await group.run()
        let failures = services.lazy.compactMap { ($0 as? WhileOwner)?.failure }
        if self.exitReason == .stopped, let failure = failures.first { throw failure }
    }
}
#endif
