// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// A running `tableflip-demo load`.
struct LoadProgram {
    private let program: Program<LoadLine>
    private let clients: Int

    /// `arguments` say what each client does.
    init(_ demo: Demo, clients: Int, _ arguments: [String]) throws {
        self.clients = clients
        self.program = try Program(
            ["load", "--target", "127.0.0.1:\(demo.port)", "--clients", "\(clients)"] + arguments)
    }

    /// Waits until so many requests more than now have been made.
    func progress(_ more: Int) throws {
        let now = self.program.lines.all.last?.requests ?? 0
        try self.program.lines.wait(for: "\(more) more requests") { lines in
            lines.last.map { $0.requests >= now + more } == true ? () : nil
        }
    }

    /// Waits until every client has been answered and rests.
    func rest() throws {
        try self.program.lines.wait(for: "\(self.clients) connections at rest") { lines in
            lines.last.map { $0.resting == self.clients } == true ? () : nil
        }
    }

    /// Ends it: nothing was lost, and every client still has its first connection.
    @discardableResult
    func stop() throws -> LoadLine {
        try self.program.closeInput()
        let last = try self.program.lines.wait(for: "the load's last word") { lines in lines.last { $0.isFinal } }
        try require(
            last.lost == 0 && last.idleClosed == 0 && last.saidClose == 0 && last.connections == self.clients
                && last.requests >= self.clients,
            "\(last)"
        )
        return last
    }
}
