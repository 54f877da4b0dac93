// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// A process of the demo program, and the lines of JSON that it and its successors write.
final class Program<Line: Decodable & Sendable>: Sendable {
    let id: CInt
    /// Ends when nobody has the standard output any more.
    let lines = Journal<Line>()
    private let input: Pipe

    init(_ arguments: [String], errors: URL? = nil) throws {
        let process = Process()
        process.executableURL = try DemoProgram.url()
        process.arguments = arguments
        let (output, input) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardInput = input
        process.standardError = try errors.map { try FileHandle(forWritingTo: $0) } ?? FileHandle.nullDevice
        try Self.withOpenSignals { try process.run() }
        self.id = process.processIdentifier
        self.input = input
        let lines = self.lines
        let reading = output.fileHandleForReading
        Thread.detachNewThread { Self.read(reading, lines) }
    }

    /// What the program takes as the sign to come to its end.
    func closeInput() throws { try self.input.fileHandleForWriting.close() }

    private static func read(_ handle: FileHandle, _ lines: Journal<Line>) {
        var pending = Data()
        while case let data = handle.availableData, !data.isEmpty {
            pending.append(data)
            while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                if let line = try? JSONDecoder().decode(Line.self, from: Data(pending[..<end])) { lines.append(line) }
                pending = Data(pending[pending.index(after: end)...])
            }
        }
        lines.end()
    }

    /// A child inherits the mask of the thread that starts it, and many threads block most signals.
    private static func withOpenSignals(_ body: () throws -> Void) rethrows {
        var (none, before) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
    }
}

/// Where the demo is: TABLEFLIP_DEMO names another one, such as a release build.
enum DemoProgram {
    static func url() throws -> URL {
        if let path = ProcessInfo.processInfo.environment["TABLEFLIP_DEMO"] { return URL(fileURLWithPath: path) }
        #if os(macOS)
        let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL
        #else
        let bundle = Bundle.main.executableURL
        #endif
        guard let bundle else { throw Unexpected("the products of this build are nowhere") }
        return bundle.resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "tableflip-demo")
    }
}
