// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import Tableflip

/// Works off the files in a folder, one after the other, and appends what it did to a journal. SIGHUP upgrades it: only
/// the process that owns the service works, so no file is done twice and none is left out.
@main
struct OwnerWorker {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 4 else {
            print("usage: owner-worker FOLDER JOURNAL PID-FILE")
            return
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
