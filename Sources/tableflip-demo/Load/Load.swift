// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser
import Foundation
import NIOCore
import NIOPosix

/// The load, in a process of its own.
struct Load: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes requests, each on a new connection, and counts them all.",
        discussion:
            "Writes a line of JSON every 100 ms; the last one when its standard input ends, or the time is over.",
        shouldDisplay: false
    )

    @Option(help: "The server, HOST:PORT.")
    var target: AddressArgument

    @Option(help: "How many clients.")
    var clients = 8

    @Option(help: "The longest time to run.")
    var duration = DurationArgument(.seconds(120))

    func run() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let (host, port, clients) = (self.target.host, self.target.port, self.clients)
        let limit = self.duration.duration
        let bound = try await loop.submit {
            let client = LoadClient(loop: loop, host: host, port: port)
            client.start(clients)
            return NIOLoopBound(client, eventLoop: loop)
        }.get()
        let reporting = loop.scheduleRepeatedTask(initialDelay: .milliseconds(100), delay: .milliseconds(100)) { _ in
            Self.write(bound.value.report)
        }
        // Whoever started us closes our input to end us, also by dying.
        await withTaskGroup { group in
            group.addTask { await Self.inputToEnd() }
            group.addTask { _ = try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
        reporting.cancel()
        try await loop.flatSubmit { bound.value.stop() }.get()
        let report = try await loop.submit { bound.value.report }.get()
        var last = report
        last.isFinal = true
        Self.write(last)
        Foundation.exit(0)  // the thread that reads the input may still be in read(2)
    }

    private static func inputToEnd() async {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var byte: UInt8 = 0
                while read(0, &byte, 1) > 0 {}
                continuation.resume()
            }
        }
    }

    private static func write(_ report: LoadReport) {
        guard var data = try? JSONEncoder().encode(report) else { return }  // numbers and strings always encode
        data.append(UInt8(ascii: "\n"))
        FileHandle.standardOutput.write(data)
    }
}
#endif  // NIO
