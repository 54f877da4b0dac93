// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// Compiles the two machines and the explorer to one program, with or without a mutation, and runs it.
struct Workshop: Sendable {
    enum Verdict: Equatable, Sendable {
        case holds
        case broken(String)
        /// It could not be tried: what went wrong.
        case untried(String)
    }

    private let core: URL
    private let explorer: URL
    private let scratch: URL

    init() throws {
        let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        self.core = tests.deletingLastPathComponent().appending(path: "Sources/TableflipCore")
        self.explorer = tests.appending(path: "HandshakeExplorer")
        self.scratch = FileManager.default.temporaryDirectory.appending(path: "tableflip-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.scratch, withIntermediateDirectories: true)
        try Data("exploreAndExit(CommandLine.arguments)\n".utf8).write(to: self.scratch.appending(path: "main.swift"))
    }

    func close() {
        try? FileManager.default.removeItem(at: self.scratch)  // litter in a temporary directory fails no test
    }

    /// Optimised code takes longer to compile than a mutant takes to be found out.
    func tryOut(
        _ mutation: Mutation? = nil, faults: Int, optimised: Bool = false
    ) async throws -> (verdict: Verdict, output: String) {
        let place = self.scratch.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        var sources = try self.sources()
        if let mutation {
            let original = self.core.appending(path: mutation.file)
            let text = try String(contentsOf: original, encoding: .utf8)
            let occurrences = text.components(separatedBy: mutation.text).count - 1
            guard occurrences == 1 else {
                return (.untried("the text to replace occurs \(occurrences) times"), "")
            }
            let copy = place.appending(path: original.lastPathComponent)
            let mutated = text.replacingOccurrences(of: mutation.text, with: mutation.replacement)
            try Data(mutated.utf8).write(to: copy)
            sources = sources.map { $0.path == original.path ? copy : $0 }
        }

        let program = place.appending(path: "explore").path
        let flags = [optimised ? "-O" : "-Onone", "-wmo", "-swift-version", "6", "-D", "SINGLE_MODULE"]
        let names = ["-package-name", "explore", "-module-name", "Explore", "-o", program]
        let compiled = try await self.run(["swiftc"] + flags + names + sources.map(\.path), in: place)
        guard compiled.status == 0 else { return (.untried("it does not compile:\n\(compiled.output)"), "") }

        let explored = try await self.run([program, "\(faults)"], in: place)
        let lastLine = explored.output.split(separator: "\n").last.map(String.init) ?? ""
        switch explored.status {
        case 0: return (.holds, explored.output)
        case 1: return (.broken(lastLine), explored.output)
        default: return (.untried("it crashes:\n\(explored.output)"), explored.output)
        }
    }

    /// The machines with all that they need, the explorer, and the main program.
    private func sources() throws -> [URL] {
        func swiftFiles(_ folder: URL) throws -> [URL] {
            try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
                .filter { $0.pathExtension == "swift" }
        }
        let machines = try ["Predecessor", "Successor"].flatMap { try swiftFiles(self.core.appending(path: $0)) }
        let values = try swiftFiles(self.core).filter {
            $0.lastPathComponent == "Probation.swift" || $0.lastPathComponent.hasPrefix("UpgradeError")
        }
        return try machines + values + swiftFiles(self.explorer) + [self.scratch.appending(path: "main.swift")]
    }

    private func run(_ command: [String], in place: URL) async throws -> (status: Int32, output: String) {
        let output = place.appending(path: "output")
        try Data().write(to: output)
        let handle = try FileHandle(forWritingTo: output)
        defer { try? handle.close() }  // what matters has been written by the process, which has ended
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = command
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
