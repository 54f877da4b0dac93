// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

/// A process of the demo program, and the lines of JSON that it and its successors write.
final class Program<Line: Decodable & Sendable>: Sendable {
    /// Also that of the process group of all its successors.
    let id: CInt
    /// Ends when nobody has the standard output any more.
    let lines = Journal<Line>()
    /// How each process of the group ended; it ends with the last one.
    let endings = Journal<CInt>()
    private let input: FileHandle

    init(_ arguments: [String], environment more: [String: String] = [:], errors: URL? = nil) throws {
        try require(Harness.isReady, "prctl")
        let path = try DemoProgram.url().path
        // Whatever upgrades here is the test's own affair.
        let environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("TABLEFLIP") }
            .merging(more) { $1 }
        let (id, output, input) = try Command.alone {
            let (output, input) = (try Self.pipe(), try Self.pipe())
            defer { for end in [output.writing, input.reading] { close(end) } }
            let command = Command(
                path: path, arguments: ([path] + arguments).map { Array($0.utf8) },
                environment: environment.map { Array("\($0.key)=\($0.value)".utf8) },
                descriptors: [0: input.reading], errors: errors?.path ?? "/dev/null"
            )
            return (try command.start(output: output.writing), output.reading, input.writing)
        }
        self.id = id
        self.input = FileHandle(fileDescriptor: input, closeOnDealloc: true)
        let (lines, endings) = (self.lines, self.endings)
        let reading = FileHandle(fileDescriptor: output, closeOnDealloc: true)
        Thread.detachNewThread { Self.read(reading, lines) }
        Thread.detachNewThread { Self.reap(id, endings) }
    }

    /// What the program takes as the sign to come to its end.
    func closeInput() throws { try self.input.close() }

    private static func pipe() throws -> (reading: CInt, writing: CInt) {
        var ends: [CInt] = [-1, -1]
        guard Foundation.pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    /// At once: what waits to be reaped keeps Swift Testing's exit tests from noticing their own children (waitid(2) with
    /// P_ALL and WNOWAIT tells of the same one again and again). Orphans become children of this process before their
    /// parent is reaped, so the row never breaks off early.
    private static func reap(_ group: CInt, _ endings: Journal<CInt>) {
        var status: CInt = 0
        while true {
            let process = waitpid(-group, &status, 0)
            if process < 0, errno == EINTR { continue }
            guard process > 0 else { break }
            endings.append(process)
        }
        endings.end()
    }

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
