// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOHTTP1
import NIOPosix

/// All clients of a load, and what they count: every request, answered whole or not. Nothing is ever tried again, so
/// nothing is hidden. All on one event loop.
final class LoadCrowd {
    /// More connections that are being made at a time would overrun the server's queue, not test it.
    private static let connectingLimit = 128

    let plan: LoadPlan
    var report = LoadReport()
    private(set) var isOver = false

    private let loop: any EventLoop
    private let finishedPromise: EventLoopPromise<Void>
    private var clients: [LoadClient] = []
    private var unfinished = 0
    private var connecting = 0
    private var waiting: CircularBuffer<(Result<any Channel, any Error>) -> Void> = []
    private var servers: Set<Int32> = []
    private var latencies = Latencies()
    private var windows: [String: Latencies] = [:]
    private var window = ""
    /// Bodies are pieces of this, and begin at different places, so that no two that follow each other are equal.
    private let page: ByteBuffer

    private static let places = 4096

    init(loop: any EventLoop, plan: LoadPlan) {
        self.loop = loop
        self.plan = plan
        self.finishedPromise = loop.makePromise()
        var page = ByteBuffer()
        var value: UInt32 = 1
        for _ in 0..<plan.bodySize + Self.places {
            // Numerical Recipes' generator: any bytes do that do not repeat soon.
            value = value &* 1_664_525 &+ 1_013_904_223
            page.writeInteger(UInt8(truncatingIfNeeded: value >> 24))
        }
        self.page = page
    }

    func start() {
        self.clients = (0..<self.plan.clients).map { LoadClient(crowd: self, number: $0) }
        self.unfinished = self.clients.count
        for client in self.clients { client.goOn() }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
            let now = NIODeadline.now()
            for client in bound.value.clients { client.check(now) }
        }
    }

    /// Every client has made all its requests.
    var finishes: EventLoopFuture<Void> { self.finishedPromise.futureResult }

    /// Lets what is under way come to its end, and those who rest ask once more.
    func stop() {
        self.isOver = true
        for client in self.clients { client.wakeUp() }
    }

    /// From here on latencies count for this window of time too.
    func enter(window: String) { self.window = window }

    /// With everything that takes time to work out.
    var wholeReport: LoadReport {
        var report = self.report
        report.latency = self.latencies.summary
        report.windows = self.windows.mapValues { $0.summary }
        let latest = Dictionary(grouping: self.clients.compactMap(\.latestServer)) { $0 }
        for (server, answers) in latest { report.latestServers["\(server)"] = answers.count }
        return report
    }

    // MARK: For clients

    /// Whether a client that has made so many requests makes more.
    func wantsMore(than made: Int) -> Bool {
        if self.plan.mode == .rest { return self.isOver ? made < 2 : made < 1 }
        return !self.isOver && made < self.plan.requests ?? .max
    }

    func exchange(_ number: Int, of client: Int) -> LoadExchange {
        self.report.requests += 1
        switch self.plan.mode {
        case .close, .keep, .mixed, .rest: return LoadExchange(window: self.window, body: nil)
        case .pipeline, .chunked, .upload:
            let place = (client * 61 + number) % Self.places
            return LoadExchange(window: self.window, body: self.page.getSlice(at: place, length: self.plan.bodySize))
        }
    }

    func answered(_ exchange: LoadExchange, by server: Int32?) {
        let time = (NIODeadline.now() - exchange.began).nanoseconds
        self.report.maxMilliseconds = max(self.report.maxMilliseconds, Double(time) / 1e6)
        self.latencies.add(nanoseconds: time)
        self.add(time, to: exchange.window)
        if self.window != exchange.window { self.add(time, to: self.window) }
        if let server, self.servers.insert(server).inserted { self.report.servers.append(server) }
    }

    private func add(_ time: Int64, to window: String) {
        if !window.isEmpty { self.windows[window, default: Latencies()].add(nanoseconds: time) }
    }

    func lost(_ exchange: LoadExchange, _ reason: String) {
        self.report.lost += 1
        self.report.failures[reason, default: 0] += 1
    }

    func finished() {
        self.unfinished -= 1
        if self.unfinished == 0 { self.finishedPromise.succeed() }
    }

    func schedule(in time: TimeAmount, _ body: @escaping () -> Void) -> Scheduled<Void> {
        self.loop.assumeIsolated().scheduleTask(in: time, body)
    }

    func connect(_ body: @escaping (Result<any Channel, any Error>) -> Void) {
        self.waiting.append(body)
        self.connectMore()
    }

    private func connectMore() {
        while self.connecting < Self.connectingLimit, let body = self.waiting.popFirst() {
            self.connecting += 1
            ClientBootstrap(group: self.loop)
                .connectTimeout(.seconds(10))
                .channelOption(.socketOption(.tcp_nodelay), value: 1)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    }
                }
                .connect(host: self.plan.host, port: self.plan.port)
                .assumeIsolated()
                .whenComplete { result in
                    self.connecting -= 1
                    if case .success = result { self.report.connections += 1 }
                    body(result)
                    self.connectMore()
                }
        }
    }
}
#endif  // NIO
