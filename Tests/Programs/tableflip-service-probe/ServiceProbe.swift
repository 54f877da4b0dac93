// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import Logging
import ServiceLifecycle
import Tableflip
import TableflipServiceLifecycle

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// A server made of services, which tests start and upgrade. It understands a few of the flags of `tableflip-probe`, and
/// says what happens in the same way: `PID GENERATION WORD …`.
@main
struct ServiceProbe {
    static func main() async {
        do {
            try await self.run(Options(CommandLine.arguments))
        } catch {
            self.say(0, "error \(error)")
            exit(1)
        }
    }

    static func say(_ generation: Int, _ words: String) {
        let line = Array("\(getpid()) \(generation) \(words)\n".utf8)
        // One write: lines of several generations share the pipe and must not mix (pipe(7), PIPE_BUF).
        _ = write(1, line, line.count)
    }

    private static func run(_ options: Options) async throws {
        let logger = Logger(label: "service-probe") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(
            configuration: .init(
                pidFile: options.pidFile, upgradeTimeout: .seconds(60), drainTimeout: .seconds(20),
                hookTimeout: .seconds(30)),
            logger: logger
        )
        let generation = upgrader.generation
        let events = upgrader.events
        let watching = Task {
            for await event in events {
                let code = event.error.map { " \($0.code)" } ?? ""
                self.say(event.generation, "event \(event.phase) \(event.peer)\(code)")
                // Who asks for what the process answers when it serves waits for this line.
                if event.phase == .serving { self.say(event.generation, "serving") }
            }
        }
        var services: [any Service] = [
            WhileOwner(upgrader) { LockService(path: (options.pidFile ?? "") + ".lock", generation: generation) }
        ]
        for address in options.listen {
            let listener = try upgrader.listen(on: address)
            self.say(generation, "listening \(listener.name) \(listener.port ?? 0) \(listener.isInherited)")
            services.append(try AnswerService(listener, generation: generation))
        }
        let wait = options.prepareWait
        try await upgrader.runServices(services, logger: logger) {
            self.say(generation, "preparing")
            if let wait { try await Wait.forByte(from: wait) }
        }
        watching.cancel()
        await watching.value
        self.say(generation, "done")
    }
}

/// `--flag value` pairs.
struct Options {
    var listen: [SocketAddress] = []
    var pidFile: String?
    /// A named pipe: the services are prepared when there is a byte in it.
    var prepareWait: String?

    init(_ arguments: [String]) {
        var rest = arguments.dropFirst()
        while let flag = rest.popFirst() {
            switch flag {
            case "--listen": self.listen += rest.popFirst().flatMap { SocketAddress($0) }.map { [$0] } ?? []
            case "--pid-file": self.pidFile = rest.popFirst()
            case "--prepare-wait": self.prepareWait = rest.popFirst()
            default: break
            }
        }
    }
}
#else
@main
struct ServiceProbe {
    static func main() { print("built without the trait ServiceLifecycle") }
}
#endif
