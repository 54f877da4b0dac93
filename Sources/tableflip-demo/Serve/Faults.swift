// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser
import Foundation
import Tableflip

/// What a successor does wrong. The first process takes no notice of them.
struct Faults: ParsableArguments {
    @Option(help: "A successor waits this long before it is ready.")
    var initDelay: DurationArgument?

    @Option(help: "A successor exits with this status before it is ready.")
    var exitBeforeReady: Int32?

    @Option(help: "A successor ends itself with SIGKILL this long after it was ready.")
    var crashAfterReady: DurationArgument?

    @Option(help: "A successor is on probation for this long, in place of --probation.")
    var successorProbation: DurationArgument?

    @Option(help: "A successor says that it is unwell this long after it was ready.")
    var unwellAfterReady: DurationArgument?

    /// The flags on the first line of a file, if it has any; they come instead of those on the command line.
    static func read(from path: String) throws -> Faults? {
        do {
            let line = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").first ?? ""
            let words = line.split(separator: " ").map(String.init)
            return words.isEmpty ? nil : try Faults.parse(words)
        } catch {
            let words = error is CocoaError ? error.localizedDescription : Faults.message(for: error)
            throw UpgradeError(
                .invalidConfiguration, "the fault file \(path) cannot be used: \(words)",
                cure: "Leave it empty for no fault."
            )
        }
    }
}
#endif  // NIO
