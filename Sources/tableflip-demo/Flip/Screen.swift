// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser
import Foundation
import TextTable

/// How the demonstration shows itself: a picture that changes on a terminal, plain lines in a pipe, JSON on request.
struct Screen {
    enum Kind {
        case live
        case plain
        case json
    }

    let kind: Kind
    private var statusIsDrawn = false

    init(json: Bool) {
        self.kind = json ? .json : isatty(1) == 1 ? .live : .plain
    }

    /// Something that happened, and stays on the screen.
    mutating func say(_ line: EventLine, _ words: String) {
        switch self.kind {
        case .json: self.write(line)
        case .plain: self.print(words)
        case .live:
            self.eraseStatus()
            self.print(words)
        }
    }

    /// What comes next; not an event, so there is no JSON of it.
    mutating func announce(_ words: String) {
        guard self.kind != .json else { return }
        self.eraseStatus()
        self.print(words)
    }

    /// How things stand; the next one takes its place.
    mutating func show(_ load: LoadReport, rate: Int, generation: Int, phase: String) {
        guard self.kind == .live else { return }
        self.eraseStatus()
        let latency = String(format: "%.1f", load.maxMilliseconds)
        let lost = load.lost == 0 ? "lost 0" : self.red("lost \(load.lost)")
        let words =
            "generation \(generation)  \(phase)  \(load.requests) requests  \(rate)/s  slowest \(latency) ms  \(lost)"
        FileHandle.standardOutput.write(Data(words.utf8))
        self.statusIsDrawn = true
    }

    mutating func finish(_ summary: Summary, _ rows: [GenerationRow]) throws {
        self.eraseStatus()
        guard self.kind != .json else { return self.write(summary) }
        func text(_ number: Double?) -> String { number.map { String(format: "%.1f", $0) } ?? "" }
        let table = TextTable<GenerationRow> {
            [
                Column("generation" <- "\($0.generation)", align: .right), Column("pid" <- "\($0.pid)", align: .right),
                Column("ready ms" <- text($0.ready), align: .right),
                Column("committed ms" <- text($0.committed), align: .right), Column("outcome" <- $0.outcome),
            ]
        }
        self.print("")
        self.print(table.string(for: rows, style: Style.simple) ?? "")
        let kept =
            summary.keptConnections > 0
            ? " but \(summary.kept), on \(summary.keptConnections) that went from process to process" : ""
        self.print(
            """
            \(summary.upgrades) upgrades, \(summary.failedUpgrades) failed as it should, \(summary.rollbacks) rolled back, \
            \(summary.generations) generations, \(summary.oldProcessesGone) old processes gone
            \(summary.requests) requests, each on a new connection\(kept): \(summary.lost) lost, \
            \(summary.killed) inside the successor that was killed, \
            slowest \(text(summary.maxLatencyMs)) ms
            """
        )
        for (failure, count) in summary.failures { self.print("lost \(count): \(failure)") }
        for missing in summary.missing { self.print("did not happen: \(missing)") }
    }

    private mutating func eraseStatus() {
        guard self.statusIsDrawn else { return }
        FileHandle.standardOutput.write(Data("\r\u{1B}[2K".utf8))
        self.statusIsDrawn = false
    }

    private func red(_ words: String) -> String {
        ProcessInfo.processInfo.environment["NO_COLOR"] == nil ? "\u{1B}[31m\(words)\u{1B}[0m" : words
    }

    private func print(_ words: String) { FileHandle.standardOutput.write(Data((words + "\n").utf8)) }

    private func write(_ value: some Encodable) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { return }  // numbers and strings always encode
        FileHandle.standardOutput.write(data + [UInt8(ascii: "\n")])
    }
}
#endif  // NIO
