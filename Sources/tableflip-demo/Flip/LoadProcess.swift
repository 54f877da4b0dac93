// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation

/// A load client in a process of its own.
protocol LoadProcess: Sendable {
    /// Lets it finish what it has begun.
    func stop()
    /// What it counted, once it has ended. Passes reports on meanwhile, if it makes any.
    func finalReport(for director: Director) async -> LoadReport
}

/// Longer than any demonstration: a load is told to end.
private let loadTime = "24h"

/// Our own, which counts every request: so many clients with a new connection for each, and as many that keep theirs.
struct BuiltinLoad: LoadProcess {
    private let process: ChildProcess

    init(port: UInt16, clients: Int) throws {
        self.process = try ChildProcess(
            [
                "load", "--target", "127.0.0.1:\(port)", "--mode", "mixed", "--clients", "\(clients * 2)",
                "--duration", loadTime,
            ])
    }

    func stop() { self.process.closeInput() }

    func finalReport(for director: Director) async -> LoadReport {
        await director.follow(load: self.process.lines)
        return await director.counted
    }
}

/// wrk (https://github.com/wg/wrk), with a new connection for each request.
struct WrkLoad: LoadProcess {
    struct NotInstalled: Error, CustomStringConvertible {
        let description = "wrk is not installed. Debian: apt-get install wrk"
    }

    private let process: ChildProcess

    init(port: UInt16, clients: Int) throws {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":")
        let path = folders.map { "\($0)/wrk" }.first { FileManager.default.isExecutableFile(atPath: $0) }
        guard let path else { throw NotInstalled() }
        self.process = try ChildProcess(
            ["-t", "1", "-c", "\(clients)", "-d", loadTime, "-H", "Connection: close", "http://127.0.0.1:\(port)/"],
            executable: path
        )
    }

    /// SIGINT makes wrk end early and print what it has.
    func stop() { self.process.signal(SIGINT) }

    /// `N requests in …`, `Socket errors: connect C, read R, write W, timeout T`, `Non-2xx or 3xx responses: N`, and the
    /// slowest from the line that begins with `Latency`.
    func finalReport(for director: Director) async -> LoadReport {
        var report = LoadReport()
        for await line in self.process.lines {
            let words = line.split { $0 == " " || $0 == "," || $0 == ":" }
            if words.count > 2, words[1] == "requests", words[2] == "in" {
                report.requests = Int(words[0]) ?? 0
                report.isFinal = true
            } else if words.starts(with: ["Socket", "errors"]) {
                for (name, count) in zip(words.dropFirst(2), words.dropFirst(3)) {
                    guard let count = Int(count), count > 0 else { continue }
                    report.failures[String(name)] = count
                    report.lost += count
                }
            } else if words.first == "Non-2xx", let count = words.last.flatMap({ Int($0) }) {
                report.failures["status", default: 0] += count
                report.lost += count
            } else if words.first == "Latency", words.count > 3 {
                report.maxMilliseconds = Duration(words: String(words[3]))?.milliseconds ?? 0
            }
        }
        return report
    }
}
#endif  // NIO
