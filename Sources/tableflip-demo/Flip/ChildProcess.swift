// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation

/// A process that the demonstration started, with the lines it writes.
final class ChildProcess: Sendable {
    let lines: AsyncStream<String>
    let id: Int32
    private let input: FileHandle

    /// Starts a program, by default this one again. `errors` is where its standard error goes; nil for ours.
    init(_ arguments: [String], executable: String? = nil, errors: FileHandle? = nil) throws {
        let process = Process()
        process.executableURL = executable.map { URL(fileURLWithPath: $0) } ?? Bundle.main.executableURL
        process.arguments = arguments
        let (output, input) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardInput = input
        if let errors { process.standardError = errors }
        try Self.withOpenSignals { try process.run() }
        self.id = process.processIdentifier
        self.input = input.fileHandleForWriting
        self.lines = Self.read(output.fileHandleForReading)
    }

    /// Ends its standard input.
    func closeInput() { try? self.input.close() }  // closed already is closed

    func signal(_ signal: Int32) { kill(self.id, signal) }

    /// A child inherits the signal mask of the thread that starts it, and Swift's pool threads block most signals: a
    /// program that does not set its own, such as wrk, would never hear of SIGINT.
    private static func withOpenSignals(_ body: () throws -> Void) rethrows {
        var (none, before) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
    }

    /// Reads on a thread of its own: the stream ends when nobody holds the other end any more, which for a server means
    /// every generation of it.
    private static func read(_ handle: FileHandle) -> AsyncStream<String> {
        let (stream, continuation) = AsyncStream.makeStream(of: String.self)
        Thread.detachNewThread {
            var rest = Data()
            while case let data = handle.availableData, !data.isEmpty {
                rest.append(data)
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    continuation.yield(String(decoding: rest[rest.startIndex..<end], as: UTF8.self))
                    rest.removeSubrange(rest.startIndex...end)
                }
            }
            if !rest.isEmpty { continuation.yield(String(decoding: rest, as: UTF8.self)) }
            continuation.finish()
        }
        return stream
    }
}
#endif  // NIO
