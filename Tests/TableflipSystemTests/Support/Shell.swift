// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A shell script, started as a successor would be.
struct Shell {
    var script: String
    var arguments: [[UInt8]] = []
    var environment: [[UInt8]] = [Array("PATH=/usr/bin:/bin".utf8)]
    var directory = "/"
    var capabilities = Capabilities.current

    init(_ script: String) { self.script = script }

    /// Starts it with `channel`, borrowed, as its descriptor 3.
    func start(channel: CInt) throws(UpgradeError) -> SpawnedProcess {
        let words = ["/bin/sh", "-c", self.script, "sh"].map { Array($0.utf8) }
        let request = SpawnRequest(
            executable: try ExecutablePath(finding: "/bin/sh", from: "/"), arguments: CStrings(words + self.arguments),
            environment: CStrings(self.environment), directory: self.directory
        )
        return try DirectSpawner(capabilities: self.capabilities).spawn(request, channel: channel)
    }

    /// Runs it to its end.
    /// - Returns: what it wrote to descriptor 3.
    func run() async throws -> (output: [UInt8], ending: SpawnedProcess.Ending) {
        let directory = try TemporaryDirectory()
        let path = try directory.write("", to: "output")
        let output = OwnedDescriptor(takingOwnershipOf: try check("open") { open(path, O_RDWR | O_CLOEXEC) })
        let process = try self.start(channel: output.borrowed)
        let ending = try await process.ending
        return (contents(of: path) ?? [], ending)
    }
}

extension SpawnedProcess {
    /// Waits for its end, and reaps it.
    var ending: Ending {
        get async throws {
            try await onItsOwnThread {
                guard readable(self.watchDescriptor, within: .seconds(60)) else {
                    ProcessID.signal(self.id, ProcessID.killSignal)
                    throw StillAlive(process: self.id)
                }
                return try #require(self.collect())
            }
        }
    }

    private struct StillAlive: Error {
        var process: CInt
    }
}
