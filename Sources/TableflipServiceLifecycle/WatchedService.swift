// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import ServiceLifecycle
import Synchronization
import Tableflip

/// Why a group is about to be cancelled.
final class FirstFailure: Sendable {
    private let noted = Mutex<UpgradeError?>(nil)

    var current: UpgradeError? { self.noted.withLock { $0 } }

    func note(_ failure: UpgradeError) { self.noted.withLock { $0 = $0 ?? failure } }
}

/// A service of a group that is cancelled when it ends too soon. It notes why before the group can know.
struct WatchedService: Service {
    let service: any Service
    let failure: FirstFailure

    func run() async throws {
        do {
            try await self.service.run()
            self.note(UpgradeError(.initialisationFailed, "a service ended by itself: \(type(of: self.service))"))
        } catch {
            self.note(UpgradeError(.initialisationFailed, "a service failed", becauseOf: error))
            throw error
        }
    }

    /// Not where the end was asked for.
    private func note(_ failure: UpgradeError) {
        if !Task.isCancelled, !Task.isShuttingDownGracefully { self.failure.note(failure) }
    }
}
#endif
