// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Synchronization
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Starts fakes. Each upgrade gets one; the test plays it.
final class FakeSpawner: ProcessSpawner {
    /// What the process that is started next says and does by itself.
    struct Plan: Sendable {
        /// What it says first; nil: nothing.
        var hello: Message.Hello? = .init(generation: 2, process: 0)
        /// A shell stands around the process that says hello.
        var isWrapped = false
        /// Why it cannot be started.
        var failure: UpgradeError?
    }

    private let kernel: Kernel
    private let plan = Mutex(Plan())
    private let started = Mutex<[FakeSuccessor]>([])
    private let coming: AsyncStream<FakeSuccessor>
    private let continuation: AsyncStream<FakeSuccessor>.Continuation

    init(_ kernel: Kernel) {
        self.kernel = kernel
        (self.coming, self.continuation) = AsyncStream.makeStream()
    }

    func plan(_ change: (inout Plan) -> Void) { self.plan.withLock { change(&$0) } }

    func spawn(_ request: SpawnRequest, channel: CInt) throws(UpgradeError) -> SpawnedProcess {
        let plan = self.plan.withLock { $0 }
        if let failure = plan.failure { throw failure }
        let result = Result { try FakeSuccessor.start(request, channel: channel, plan, self.kernel) }
        switch result {
        case .success(let (successor, process)):
            self.started.withLock { $0.append(successor) }
            self.continuation.yield(successor)
            return process
        case .failure(let error): throw UpgradeError(.spawnFailed, "the fake could not be started: \(error)")
        }
    }

    /// The process that is started next, or was started and not asked for.
    func next() async throws -> FakeSuccessor {
        let found = Latch<FakeSuccessor>()
        let waiting = Task { [coming] in
            for await successor in coming {
                found.set(successor)
                return
            }
        }
        defer { waiting.cancel() }
        return try await found.value("a successor")
    }

    /// Nothing of what was started is left.
    func bury() { for successor in self.started.withLock({ $0 }) { successor.bury() } }
}

/// A successor: a real process that only says hello and sleeps, so that whoever sends it a signal hits it and nobody
/// else; and the end of its channel, which the test has.
///
/// The process must say hello by itself, because its predecessor believes the kernel, and no message, about who speaks.
/// What a shell cannot do, sending a descriptor, the test has done with the first byte.
final class FakeSuccessor: Sendable {
    let peer: FakePeer
    /// What it was to be started with.
    let request: SpawnRequest
    private let kernel: Kernel
    private let real: SpawnedProcess
    /// What the process writes to once it has said hello; nil: it does not.
    private let greeting: NamedPipe?
    /// Where its predecessor is told how it ended; nil once it was.
    private let report: Mutex<OwnedDescriptor?>
    /// What its lifeline hangs on.
    private let life: Mutex<OwnedDescriptor?>
    private let isBuried = Mutex(false)

    /// The id of the process.
    var id: CInt { self.real.id }

    private init(
        _ request: SpawnRequest, _ kernel: Kernel, real: SpawnedProcess, greeting: NamedPipe?,
        channel: consuming OwnedDescriptor,
        report: consuming OwnedDescriptor, life: consuming OwnedDescriptor
    ) {
        self.request = request
        self.kernel = kernel
        self.real = real
        self.greeting = greeting
        self.peer = FakePeer(takingOwnershipOf: channel, kernel)
        self.report = Mutex(report)
        self.life = Mutex(life)
    }

    static func start(
        _ request: SpawnRequest, channel: CInt, _ plan: FakeSpawner.Plan, _ kernel: Kernel
    ) throws -> (FakeSuccessor, SpawnedProcess) {
        let ours = try OwnedDescriptor(duplicating: channel)
        let life = try Pipe()
        let hold = try life.writing.duplicate()
        var rest: ArraySlice<UInt8> = []
        if let hello = plan.hello {
            let bytes = Message.hello(hello).encoded()
            let lifeline = life.reading.borrowed
            try #require(tf_send(channel, bytes, 1, [lifeline], 1) == 1)
            rest = bytes.dropFirst()
        }
        let greeting = try plan.hello.map { _ in try NamedPipe() }
        let octal = rest.map { "\\" + String($0 / 64) + String($0 / 8 % 8) + String($0 % 8) }.joined()
        let greets = "printf \"$1\" >&3; exec 3>&-; test -z \"$2\" || echo >\"$2\""
        // The shell reaps the one inside: as an orphan it would be this process's, which knows nothing of it.
        let script = plan.isWrapped ? "(\(greets)); exec 3>&-; exec sleep 600" : "\(greets); exec sleep 600"
        let words = ["sh", "-c", script, "sh", octal, greeting?.path ?? ""]
        let sleeper = SpawnRequest(
            executable: try ExecutablePath(finding: "/bin/sh", from: "/"),
            arguments: CStrings(words.map { Array($0.utf8) }),
            environment: CStrings([Array("PATH=/bin:/usr/bin".utf8)]), directory: "/"
        )
        let real = try DirectSpawner(capabilities: .current).spawn(sleeper, channel: channel)
        let end = try Pipe()
        let report = try end.writing.duplicate()
        return (
            FakeSuccessor(
                request, kernel, real: real, greeting: greeting, channel: ours, report: report, life: hold
            ),
            SpawnedProcess(id: real.id, watch: end.takeReading())
        )
    }

    // MARK: Its part of the handshake

    /// Hears its predecessor's hello. Its own is said at the start, by two processes: until the second has said the rest of
    /// it, neither may anything else be said, nor the process be ended.
    func greet() async throws -> Message.Hello {
        guard case (.hello(let hello), let lifeline) = try await self.peer.nextMessage() else {
            throw TimedOut(what: "a hello")
        }
        #expect(lifeline.count == 1)
        // A descriptor that polls readable would mean that its predecessor is dead.
        for descriptor in lifeline { #expect(!readable(descriptor.number, within: .zero)) }
        if let greeting { try await greeting.wasWrittenTo() }
        return hello
    }

    /// Hears what probation is asked for.
    func hearTerms() async throws -> Message.Terms {
        let message = try await self.peer.nextMessage().message
        guard case .terms(let terms) = message else { throw TimedOut(what: "terms, and heard \(message)") }
        return terms
    }

    /// Takes everything that is offered, and says so batch by batch.
    func takeInventory() async throws -> Inventory {
        var inventory = Inventory(entries: [], descriptors: [])
        while true {
            let (message, descriptors) = try await self.peer.nextMessage()
            if case .paths = message, inventory.entries.isEmpty { continue }
            guard case .offer(let offer) = message else { throw TimedOut(what: "an offer, and heard \(message)") }
            #expect(Int(offer.first) == inventory.entries.count)
            #expect(offer.stage == .initial)
            #expect(descriptors.count <= self.kernel.capabilities.descriptorsPerMessage)
            inventory.entries += offer.entries
            inventory.descriptors += descriptors
            let received = UInt32(inventory.entries.count)
            try await self.peer.say(.acknowledgement(.init(.initialOffer, received: received)))
            if received == offer.total { return inventory }
        }
    }

    /// Says that it is ready, and claims everything.
    func sayReady(
        _ inventory: Inventory, probation: Probation = .none, milliseconds: UInt64 = 0, digest: UInt64? = nil,
        fresh: UInt32 = 0
    ) async throws {
        try await self.peer.say(
            .ready(
                .init(
                    digest: try digest ?? inventory.digest(),
                    claimed: Array(repeating: true, count: inventory.entries.count), fresh: fresh, probation: probation,
                    probationMilliseconds: milliseconds
                )
            )
        )
    }

    /// Everything up to ready.
    func becomeReady(probation: Probation = .none, milliseconds: UInt64 = 0) async throws -> Inventory {
        _ = try await self.greet()
        let inventory = try await self.takeInventory()
        try await self.sayReady(inventory, probation: probation, milliseconds: milliseconds)
        return inventory
    }

    /// Everything up to go, with a probation that no test outlasts.
    func enterProbation() async throws {
        _ = try await self.becomeReady(probation: .timed, milliseconds: 600_000)
        try await self.peer.expect(.go)
    }

    /// Everything up to commit.
    func comeToCommit() async throws -> Inventory {
        let inventory = try await self.becomeReady()
        try await self.peer.expect(.go)
        try await self.peer.expect(.commit)
        return inventory
    }

    /// Everything, where nothing goes wrong.
    func takeOver() async throws -> Inventory {
        let inventory = try await self.comeToCommit()
        try await self.peer.say(.committed)
        return inventory
    }

    // MARK: Its end

    /// Ends, and its predecessor learns of it: first from the channel, then how.
    func end(_ ending: SpawnedProcess.Ending = .exited(1)) async throws {
        ProcessID.signal(self.id, ProcessID.killSignal)
        try await self.peer.close { self.tell(ending) }
    }

    /// The process that said hello ends, and the shell around it goes on: whoever has the channel is nobody's affair.
    func endInside() { self.life.withLock { $0 = nil } }

    /// Waits until somebody has killed it. Its predecessor is not told before ``tell(_:)``.
    func fate() async throws -> SpawnedProcess.Ending {
        try await onItsOwnThread {
            guard readable(self.real.watchDescriptor) else { throw TimedOut(what: "the end of \(self.id)") }
            return try self.isBuried.withLock { isBuried in
                isBuried = true
                return try #require(self.real.collect())
            }
        }
    }

    /// Tells its predecessor how it ended.
    func tell(_ ending: SpawnedProcess.Ending) {
        self.life.withLock { $0 = nil }
        self.report.withLock { report in
            guard let report = report.take() else { return }
            let bytes = ending.bytes
            #expect(write(report.borrowed, bytes, bytes.count) == bytes.count)
        }
    }

    /// It is alive, for all that its predecessor can see.
    var isAlive: Bool { kill(self.id, 0) == 0 && !readable(self.real.watchDescriptor, within: .zero) }

    /// Leaves nothing behind.
    func bury() {
        self.isBuried.withLock { isBuried in
            guard !isBuried else { return }
            isBuried = true
            ProcessID.signal(self.id, ProcessID.killSignal)
            _ = readable(self.real.watchDescriptor)
            _ = self.real.collect()
        }
    }
}

/// A pipe with a path, for a process to write to that has no other descriptor for it.
final class NamedPipe: Sendable {
    let path: String
    private let directory: TemporaryDirectory
    private let reading: OwnedDescriptor

    init() throws {
        self.directory = try TemporaryDirectory()
        let path = self.directory("pipe")
        try #require(mkfifo(path, 0o600) == 0)
        self.reading = OwnedDescriptor(
            takingOwnershipOf: try check("open") { open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) })
        self.path = path
    }

    func wasWrittenTo() async throws {
        try await onItsOwnThread {
            guard readable(self.reading.borrowed) else { throw TimedOut(what: "a word in \(self.path)") }
        }
    }
}

/// What one process got from another.
struct Inventory: Sendable {
    var entries: [InventoryEntry]
    var descriptors: [Held]

    func digest() throws -> UInt64 {
        var digest = InventoryDigest()
        for (entry, descriptor) in zip(self.entries, self.descriptors) {
            digest.combine(entry, identity: try descriptor.inode)
        }
        return digest.value
    }
}
