// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// What is handed over between pause and go, when nothing changes any more.
final class FinalStates: Sendable {
    typealias Provide = @Sendable () async throws -> [UInt8]
    typealias Restore = @Sendable (HandedState?) async throws -> Void

    private struct State {
        var provided: [(name: String, version: UInt16, provide: Provide)] = []
        var handlers: [(name: String, versions: ClosedRange<UInt16>, restore: Restore)] = []
        /// The application is ready: no more handlers.
        var isSealed = false
        /// As successor, by name.
        var received: [String: CarriedDescriptor] = [:]
        /// Set when the handlers have returned; nil before they are called.
        var restored: Latch<Void>?
    }

    private let state = Mutex(State())
    private let capabilities: Capabilities

    init(capabilities: Capabilities) { self.capabilities = capabilities }

    func provide(_ name: String, version: UInt16, _ provide: @escaping Provide) throws(UpgradeError) {
        try self.state.withLock { state throws(UpgradeError) in
            if state.provided.contains(where: { $0.name == name }) { throw .duplicateState(name) }
            state.provided.append((name, version, provide))
        }
    }

    func restore(
        _ name: String, versions: ClosedRange<UInt16>, _ restore: @escaping Restore
    ) throws(UpgradeError) {
        try self.state.withLock { state throws(UpgradeError) in
            guard !state.isSealed else { throw .afterReady("the final state \(name)") }
            if state.handlers.contains(where: { $0.name == name }) { throw .duplicateState(name) }
            state.handlers.append((name, versions, restore))
        }
    }

    func seal() { self.state.withLock { $0.isSealed = true } }

    var hasProviders: Bool { self.state.withLock { !$0.provided.isEmpty } }
    var hasWork: Bool { self.state.withLock { !$0.handlers.isEmpty || !$0.received.isEmpty } }

    // MARK: As a predecessor

    /// Asks every provider.
    /// - Returns: what they say, ready to be sent.
    func collect() async throws -> [CarriedDescriptor] {
        var collected: [CarriedDescriptor] = []
        for (name, version, provide) in self.state.withLock({ $0.provided }) {
            let bytes = try await provide()
            let entry = InventoryEntry(name: name, kind: .state, address: "", version: version)
            collected.append(CarriedDescriptor(entry, try Blob.make(bytes, name: name, self.capabilities)))
        }
        return collected
    }

    // MARK: As a successor

    func receive(_ entries: [InventoryEntry], _ descriptors: consuming DescriptorBatch) throws(UpgradeError) {
        for entry in entries {
            guard let descriptor = descriptors.takeFirst() else {
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) came without a descriptor")
            }
            let number = descriptor.borrowed
            let facts = try UpgradeError.wrapping("\(entry.name) came with a bad descriptor", .predecessorMisbehaved) {
                () throws(SystemCallError) in try DescriptorFacts(of: number)
            }
            guard entry.kind == .state, facts.fits(.state) else {
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) is no state")
            }
            let received = CarriedDescriptor(entry, descriptor, isInherited: true)
            let isNew = self.state.withLock { $0.received.updateValue(received, forKey: entry.name) == nil }
            guard isNew else { throw UpgradeError(.predecessorMisbehaved, "\(entry.name) was offered twice") }
        }
    }

    /// Before the readers of this process first read; what nobody restores is closed. A second time there is nothing to do
    /// but to wait until the first has ended.
    func restore() async throws {
        let restored = Latch<Void>()
        let (before, handlers, received) = self.state.withLock { state in
            defer {
                state.restored = state.restored ?? restored
                state.received = [:]
            }
            return (state.restored, state.handlers, state.received)
        }
        if let before {
            _ = await before.wait()
            return
        }
        defer { restored.set(()) }
        for (name, versions, restore) in handlers {
            let found = received[name]
            if let found { try HandedState.check(found.entry, versions) }
            try await restore(found.map { HandedState($0) })
        }
    }
}

extension UpgradeError {
    fileprivate static func duplicateState(_ name: String) -> UpgradeError {
        UpgradeError(
            .duplicateName, "two final states are named \(name)", cure: "Give each a name of its own.", serving: .nobody
        )
    }
}
