// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import TableflipSystem

/// The load, in a process of its own.
struct Load: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes requests in one of several ways, and counts them all.",
        discussion: """
            Writes a line of JSON every 100 ms, and the last one, with latencies, when its standard input ends, the time is over or every \
            request has been made. A line on the standard input names a window of time, whose latencies are reported by \
            themselves; the next one begins another.
            """,
        shouldDisplay: false
    )

    @Option(help: "The server, HOST:PORT.")
    var target: AddressArgument

    @Option(help: .init("What each client does.", valueName: "mode"))
    var mode = LoadMode.close

    @Option(help: "How many clients.")
    var clients = 8

    @Option(help: "How long a client waits between an answer and its next request.")
    var think: DurationArgument?

    @Option(help: "How many requests each client makes; as many as there is time for if not said.")
    var requests: Int?

    @Option(help: "How large bodies are that are posted.")
    var body: SizeArgument?

    @Option(help: "The longest time to run.")
    var duration = DurationArgument(.seconds(120))

    func validate() throws {
        guard (1...100_000).contains(self.clients) else { throw ValidationError("--clients takes 1 to 100000") }
        guard self.requests ?? 1 > 0 else { throw ValidationError("--requests takes 1 or more") }
        guard (1...1 << 30).contains(self.body?.bytes ?? 1) else { throw ValidationError("--body takes 1 to 1G") }
    }

    private var plan: LoadPlan {
        let usualSize =
            switch self.mode {
            case .close, .keep, .mixed, .rest: 0
            case .pipeline: 32
            case .chunked: 4096
            case .upload: 1 << 20
            }
        return LoadPlan(
            mode: self.mode, host: self.target.host, port: self.target.port, clients: self.clients,
            think: .nanoseconds(Int64((self.think?.duration.milliseconds ?? 0) * 1e6)), requests: self.requests,
            bodySize: self.body?.bytes ?? usualSize
        )
    }

    func run() async throws {
        OpenFileLimit.makeRoom(for: self.clients)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let (plan, limit) = (self.plan, self.duration.duration)
        let bound = try await loop.submit {
            let crowd = LoadCrowd(loop: loop, plan: plan)
            crowd.start()
            return NIOLoopBound(crowd, eventLoop: loop)
        }.get()
        let reporting = loop.scheduleRepeatedTask(initialDelay: .milliseconds(100), delay: .milliseconds(100)) { _ in
            Self.write(bound.value.report)
        }
        // Whoever started us closes our input to end us, also by dying.
        await withTaskGroup { group in
            group.addTask {
                for await window in Self.inputLines() { loop.execute { bound.value.enter(window: window) } }
            }
            group.addTask { _ = try? await Task.sleep(for: limit) }
            group.addTask { _ = try? await loop.flatSubmit { bound.value.finishes }.get() }
            await group.next()
            // The one that waits for the crowd can only end once the crowd has.
            loop.execute { bound.value.stop() }
            group.cancelAll()
        }
        try await loop.flatSubmit { bound.value.finishes }.get()
        reporting.cancel()
        var last = try await loop.submit { bound.value.wholeReport }.get()
        last.isFinal = true
        Self.write(last)
        Foundation.exit(0)  // the thread that reads the input may still be in read(2)
    }

    /// Ends with the input.
    private static func inputLines() -> AsyncStream<String> {
        let (stream, continuation) = AsyncStream.makeStream(of: String.self)
        Thread.detachNewThread {
            while let line = readLine() { continuation.yield(line) }
            continuation.finish()
        }
        return stream
    }

    private static func write(_ report: LoadReport) {
        guard var data = try? JSONEncoder().encode(report) else { return }  // numbers and strings always encode
        data.append(UInt8(ascii: "\n"))
        do {
            try FileHandle.standardOutput.write(contentsOf: data)
        } catch {
            Foundation.exit(1)  // nobody reads what it counts
        }
    }
}
#endif  // NIO
