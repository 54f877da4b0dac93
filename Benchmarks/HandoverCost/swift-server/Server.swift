// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What `../go-server` does with tableflip, and `../floor` with system calls alone: a listener and a number of files that
/// every generation hands on, an upgrade at SIGHUP, and a line with its process id once the predecessor has left.
@main
struct Server {
    static func main() async throws {
        let options = Options(CommandLine.arguments)
        if options.exitsAtOnce { return }
        let upgrader = try Upgrader(
            configuration: .init(
                pidFile: options.pidFile, controlSocket: options.control.map { .init(path: $0) }),
            logger: Logger(label: "handover-server") { _ in SwiftLogNoOpLogHandler() }
        )
        _ = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        for number in 0..<options.carried {
            _ = try upgrader.carry(.file, name: "file \(number)") {
                OwnedDescriptor(takingOwnershipOf: open("/dev/null", O_RDONLY | O_CLOEXEC))
            }
        }
        if options.state > 0 {
            let size = options.state
            try upgrader.restoreFinalState("state", versions: 1...1) { state in
                guard let state else { return }
                guard try state.bytes().count == size else { fatalError("the state is not whole") }
            }
            let bytes = [UInt8](repeating: 1, count: size)
            try upgrader.provideFinalState("state", version: 1) { bytes }
        }
        try await upgrader.ready()
        try await upgrader.waitForPredecessor()
        let ballast = UnsafeMutableRawBufferPointer.allocate(byteCount: options.ballast, alignment: 4096)
        if let base = ballast.baseAddress { memset(base, 1, ballast.count) }
        let line = Array("\(getpid())\n".utf8)
        _ = write(1, line, line.count)
        _ = await upgrader.exit
    }
}
