// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Dispatch
import Logging
import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Sends everything back, with plain sockets and poll(2). SIGHUP upgrades it: whoever connects finds a process that
/// accepts, and whoever is connected goes on in the new one.
@main
struct TCPEcho {
    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let address = SocketAddress("tcp://" + arguments[1]) else {
            let usage = "usage: tcp-echo HOST:PORT PID-FILE\n"
            write(2, usage, usage.utf8.count)
            exit(64)  // EX_USAGE, sysexits.h
        }
        // A client that has gone is no reason to end. A successor has every signal at its default, so each does this anew.
        signal(SIGPIPE, SIG_IGN)
        let logger = Logger(label: "tcp-echo") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(configuration: .init(pidFile: arguments[2]), logger: logger)
        let listener = try upgrader.listen(on: address)
        let loop = try EchoLoop(listener)
        upgrader.register(loop)
        // The main thread is the loop's.
        Task.detached {
            do {
                try await upgrader.ready()
                let port = listener.port ?? 0
                logger.info("listening", metadata: ["port": "\(port)", "generation": "\(upgrader.generation)"])
                switch await upgrader.exit {
                case .replaced, .handedBack: await loop.leave(.whenConnectionsHaveGone)
                default: await loop.leave(.now)
                }
            } catch {
                logger.error("\(error)")
                exit(1)
            }
        }
        loop.run()
        // The successor is told that nothing more comes before this process ends.
        let isOver = DispatchSemaphore(value: 0)
        Task.detached {
            await upgrader.drained()
            isOver.signal()
        }
        isOver.wait()
    }
}
