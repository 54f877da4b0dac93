// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Dispatch
import Synchronization
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

/// What the system under the tests can do. Both must work here.
enum Kernel: String, CaseIterable, Codable, Sendable, CustomTestStringConvertible {
    case current
    case portable

    var capabilities: Capabilities {
        switch self {
        case .current: .current
        case .portable: .portable
        }
    }

    var testDescription: String { self.rawValue }
}

/// How long a test waits for what must happen. Long, because the machine may be busy; nothing ever waits for all of it
/// unless something is wrong.
let patience = Duration.seconds(60)

struct TimedOut: Error, CustomStringConvertible {
    var what: String
    var description: String { "waited in vain for \(self.what)" }
}

/// Runs what waits on a thread of its own: the threads of Swift's pool are for the readers under test.
func onItsOwnThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue(label: "waiting").async { continuation.resume(with: Result { try body() }) }
    }
}

/// Waits until a descriptor is readable or hung up. A signal ends no wait.
func readable(_ descriptor: CInt, within limit: Duration = patience) -> Bool {
    Poll.isReadable(descriptor, within: limit)
}

/// Looks again and again, for what no event tells of.
func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
    let end = ContinuousClock.now + patience
    while try !condition() {
        guard ContinuousClock.now < end else { throw TimedOut(what: what) }
        await Task.yield()
    }
}

extension Latch {
    /// The value, once it is set.
    func value(_ what: String = "a latch") async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask {
                guard let value = await self.wait() else { throw CancellationError() }
                return value
            }
            group.addTask {
                try await Task.sleep(for: patience)
                throw TimedOut(what: what)
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else { throw TimedOut(what: what) }
            return value
        }
    }
}

/// An answer that comes later.
final class Outcome<Value: Sendable>: Sendable {
    private let latch = Latch<Result<Value, UpgradeError>>()

    init(_ body: @escaping @Sendable () async throws(UpgradeError) -> Value) {
        let latch = self.latch
        Task {
            do throws(UpgradeError) {
                latch.set(.success(try await body()))
            } catch {
                latch.set(.failure(error))
            }
        }
    }

    /// What it is by now; nil as long as there is none.
    var current: Result<Value, UpgradeError>? { self.latch.current }

    var value: Value { get async throws { try await self.latch.value("an outcome").get() } }

    var failure: UpgradeError {
        get async throws {
            guard case .failure(let error) = try await self.latch.value("a failure") else {
                throw TimedOut(what: "a failure: it succeeded")
            }
            return error
        }
    }
}

/// What happened, in order.
final class Journal: Sendable {
    private let entries = Mutex<[String]>([])

    func note(_ entry: String) { self.entries.withLock { $0.append(entry) } }

    var all: [String] { self.entries.withLock { $0 } }
}

/// A descriptor in the hands of a test, which may be put into arrays.
final class Held: Sendable {
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    var number: CInt { self.descriptor.borrowed }
    var inode: UInt64 { get throws { try DescriptorFacts(of: self.number).inode } }
}

/// A pipe, of which either end may be given away.
struct Pipe: ~Copyable {
    let reading: OwnedDescriptor
    let writing: OwnedDescriptor

    init() throws {
        var ends: [CInt] = [-1, -1]
        try check("pipe") { tf_pipe(&ends) }
        self.reading = OwnedDescriptor(takingOwnershipOf: ends[0])
        self.writing = OwnedDescriptor(takingOwnershipOf: ends[1])
    }

    consuming func takeReading() -> OwnedDescriptor { self.reading }
    consuming func takeWriting() -> OwnedDescriptor { self.writing }
}

/// A descriptor of which it can be seen whether any copy of it is open anywhere.
final class Tracer: Sendable {
    private let watching: OwnedDescriptor
    private let watched: Mutex<OwnedDescriptor?>

    init() throws {
        let pipe = try Pipe()
        self.watching = pipe.reading
        self.watched = Mutex(pipe.writing)
    }

    /// One that may stand for a connection.
    static func socket() throws -> Tracer {
        let pair = try ChannelSocket.pair()
        return Tracer(
            OwnedDescriptor(takingOwnershipOf: pair.ours), OwnedDescriptor(takingOwnershipOf: pair.theirs)
        )
    }

    private init(_ watching: consuming OwnedDescriptor, _ watched: consuming OwnedDescriptor) {
        self.watching = watching
        self.watched = Mutex(watched)
    }

    /// Hands the one copy that there is to somebody else.
    func giveAway() -> OwnedDescriptor {
        let watched = self.watched.withLock { $0.take() }
        guard let watched else { preconditionFailure("it was given away before") }
        return watched
    }

    var isOpenSomewhere: Bool { !readable(self.watching.borrowed, within: .zero) }

    /// Waits until no copy is open any more. A program that another test is just starting may hold one for a moment.
    var isClosedEverywhere: Bool {
        get async throws { try await onItsOwnThread { readable(self.watching.borrowed) } }
    }
}

/// Two connected sockets.
struct Pair: Sendable {
    let one: Held
    let other: Held

    init() throws {
        let pair = try ChannelSocket.pair()
        self.one = Held(OwnedDescriptor(takingOwnershipOf: pair.ours))
        self.other = Held(OwnedDescriptor(takingOwnershipOf: pair.theirs))
    }

    /// Another copy of `one`.
    func duplicate() throws(UpgradeError) -> OwnedDescriptor {
        do throws(SystemCallError) {
            return try self.one.descriptor.duplicate()
        } catch {
            throw UpgradeError(.system, "\(error)")
        }
    }
}

/// A directory that goes away with this value.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/tf.XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        self.path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in self.names { unlink(self(name)) }
        rmdir(self.path)
    }

    func callAsFunction(_ name: String) -> String { self.path + "/" + name }

    /// The names in it. Tests have no directories in theirs.
    var names: [String] {
        guard let directory = opendir(self.path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                // SAFETY: d_name is an array that holds a string with a zero at its end (readdir(3)).
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// What is in a file of it; nil where there is none.
    func text(_ name: String) -> String? {
        let descriptor = open(self(name), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        let file = OwnedDescriptor(takingOwnershipOf: descriptor)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(file.borrowed, &bytes, bytes.count)
        return String(decoding: bytes[..<max(0, count)], as: UTF8.self)
    }
}

extension NotifyListener {
    /// Leaves no room for what anybody says: nobody reads it.
    func fill() { while (try? self.socket.send(["STATUS=full"], within: .zero)) != nil {} }
}
