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

/// Works off the files in a folder, one after the other, and appends what it did to a journal. SIGHUP upgrades it: only
/// the process that owns the service works, so no file is done twice and none is left out.
@main
struct OwnerWorker {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 4 else {
            let usage = "usage: owner-worker FOLDER JOURNAL PID-FILE\n"
            write(2, usage, usage.utf8.count)
            exit(64)  // EX_USAGE, sysexits.h
        }
        let logger = Logger(label: "owner-worker") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(configuration: .init(pidFile: arguments[3]), logger: logger)
        let worker = Worker(folder: arguments[1], journal: arguments[2])
        upgrader.addOwnershipHooks(
            becameOwner: { await worker.start() },
            // The successor begins when this has returned: with the file at hand done, and no other begun.
            losingOwnership: { await worker.finish() }
        )
        try await upgrader.ready()
        _ = await upgrader.exit
    }
}
