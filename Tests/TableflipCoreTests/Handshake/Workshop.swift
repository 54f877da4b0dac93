// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// Compiles the two machines, with or without a mutation, and runs the explorer with them.
///
/// The explorer is compiled once, optimised, against the machines as they are. So a mutation may change what functions
/// do, but not what types look like.
struct Workshop: Sendable {
    enum Verdict: Equatable, Sendable {
        case holds
        case broken(String)
        /// It could not be tried: what went wrong.
        case untried(String)
    }

    private struct Failure: Error {
        let output: String
    }

    private let core: URL
    private let scratch: URL
    private let common = ["-swift-version", "6", "-package-name", "explore", "-wmo"]

    init() async throws {
        let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        self.core = tests.deletingLastPathComponent().appending(path: "Sources/TableflipCore")
        self.scratch = FileManager.default.temporaryDirectory.appending(path: "tableflip-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.scratch, withIntermediateDirectories: true)

        let main = self.scratch.appending(path: "main.swift")
        try Data("import HandshakeExplorer\nexploreAndExit(CommandLine.arguments)\n".utf8).write(to: main)
        let explorer = try self.swiftFiles(tests.appending(path: "HandshakeExplorer"))
        try await self.compile("TableflipCore", self.coreSources(), ["-parse-as-library", "-emit-module"])
        try await self.compile("HandshakeExplorer", explorer, ["-parse-as-library", "-emit-module", "-O"])
        try await self.compile("Explore", [main])
    }

    func close() {
        try? FileManager.default.removeItem(at: self.scratch)  // litter in a temporary directory fails no test
    }

    /// - Returns: what comes of it, and all that the explorer printed.
    func tryOut(_ mutation: Mutation?, faults: Int) async throws -> (verdict: Verdict, output: String) {
        let place = self.scratch.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        var sources = try self.coreSources()
        if let mutation {
            let original = self.core.appending(path: mutation.file)
            let text = try String(contentsOf: original, encoding: .utf8)
            let occurrences = text.components(separatedBy: mutation.text).count - 1
            guard occurrences == 1 else { return (.untried("the text to replace occurs \(occurrences) times"), "") }
            let copy = place.appending(path: original.lastPathComponent)
            try Data(text.replacingOccurrences(of: mutation.text, with: mutation.replacement).utf8).write(to: copy)
            sources = sources.map { $0.path == original.path ? copy : $0 }
        }

        let program = place.appending(path: "explore").path
        do {
            try await self.compile("TableflipCore", sources, ["-parse-as-library"], in: place)
            let rest = ["HandshakeExplorer.o", "Explore.o"].map { self.scratch.appending(path: $0).path }
            try await self.require(
                ["swiftc", "-o", program, place.appending(path: "TableflipCore.o").path] + rest, in: place)
        } catch let failure as Failure {
            return (.untried("it does not compile:\n\(failure.output)"), "")
        }

        let explored = try await self.run([program, "\(faults)"], in: place)
        switch explored.status {
        case 0: return (.holds, explored.output)
        case 1: return (.broken(explored.output.split(separator: "\n").last.map(String.init) ?? ""), explored.output)
        default: return (.untried("it crashes:\n\(explored.output)"), explored.output)
        }
    }

    /// The machines with all that they need.
    private func coreSources() throws -> [URL] {
        let machines = try ["Predecessor", "Successor"].flatMap { try self.swiftFiles(self.core.appending(path: $0)) }
        let values = try self.swiftFiles(self.core).filter {
            $0.lastPathComponent == "Probation.swift" || $0.lastPathComponent.hasPrefix("UpgradeError")
        }
        return machines + values
    }

    private func swiftFiles(_ folder: URL) throws -> [URL] {
        try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "swift" }
    }
}

// MARK: - Running the compiler, and what it makes

extension Workshop {
    private func compile(
        _ module: String, _ sources: [URL], _ flags: [String] = [], in place: URL? = nil
    ) async throws {
        let place = place ?? self.scratch
        let object = place.appending(path: "\(module).o").path
        let names = ["-module-name", module, "-I", self.scratch.path, "-c", "-o", object]
        try await self.require(["swiftc"] + self.common + flags + names + sources.map(\.path), in: place)
    }

    private func require(_ command: [String], in place: URL) async throws {
        let (status, output) = try await self.run(command, in: place)
        if status != 0 { throw Failure(output: output) }
    }

    private func run(_ command: [String], in place: URL) async throws -> (status: Int32, output: String) {
        let output = place.appending(path: "output")
        try Data().write(to: output)
        let handle = try FileHandle(forWritingTo: output)
        defer { try? handle.close() }  // what matters has been written by the process, which has ended
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = command
        process.currentDirectoryURL = place
        process.standardOutput = handle
        process.standardError = handle
        let status = try await withCheckedThrowingContinuation { (ended: CheckedContinuation<Int32, any Error>) in
            process.terminationHandler = { process in
                let bySignal = process.terminationReason == .uncaughtSignal
                ended.resume(returning: process.terminationStatus + (bySignal ? 128 : 0))
            }
            do { try process.run() } catch { ended.resume(throwing: error) }
        }
        return (status, try String(contentsOf: output, encoding: .utf8))
    }
}
