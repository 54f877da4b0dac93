// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import ServiceLifecycle
import Synchronization

/// What services did, in order.
final class Record: Sendable {
    private let entries = Mutex<[String]>([])

    func note(_ entry: String) { self.entries.withLock { $0.append(entry) } }

    var all: [String] { self.entries.withLock { $0 } }
}

/// A service that serves until it is shut down, and writes down what happens to it.
struct RecordedService: Service {
    let name: String
    let record: Record
    /// What it does when it starts: it may throw.
    var start: @Sendable () async throws -> Void = {}

    func run() async throws {
        self.record.note("\(self.name) runs")
        try await self.start()
        do {
            try await gracefulShutdown()
            self.record.note("\(self.name) shut down")
        } catch {
            self.record.note("\(self.name) cancelled")
        }
    }
}

/// Waits until the task is cancelled.
func untilCancelled() async throws {
    let (stream, continuation) = AsyncStream.makeStream(of: Never.self)
    for await _ in stream {}
    _ = continuation
    throw CancellationError()
}

/// Something that happens once, and is waited for.
struct Signal: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (self.stream, self.continuation) = AsyncStream.makeStream() }

    func fire() { self.continuation.finish() }
    func wait() async { for await _ in self.stream {} }
}
#endif
