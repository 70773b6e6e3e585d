public import Addresses
import Glibc

extension RouteSocket {
    /// The way that the kernel would take, `interface` forcing the outgoing one; nil where the destination is
    /// unreachable.
    public func route(
        to destination: IPAddress, from source: IPAddress? = nil, via interface: Int32? = nil
    ) throws(NetlinkError) -> ResolvedRoute? {
        let request = ResolvedRoute.request(to: destination, from: source, via: interface)
        // EACCES is a prohibit route, EINVAL a blackhole one, ENODEV an interface that went away.
        let unreachable = [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ENODEV]
        return try self.request(request, unless: unreachable, "find route to \(destination)")?
            .lazy.compactMap(ResolvedRoute.init).first
    }

    /// The MTU that the route to a destination was given; nil where it was given none.
    public func routeMTU(to destination: IPAddress) throws(NetlinkError) -> UInt32? {
        let request = ResolvedRoute.request(to: destination, from: nil, via: nil, isOfTable: true)
        return try self.request(request, "find route to \(destination)").lazy.compactMap(ResolvedRoute.mtu).first
    }

    /// The IPv4 routes of a table, or of all tables.
    public func routes(table: UInt32? = nil) throws(NetlinkError) -> [Route] {
        // ENOENT: a table without routes does not exist.
        let messages = try dump(
            Route.listRequest(table: table), emptyIf: table == nil ? [] : [ENOENT], "list routes")
        return messages.compactMap(Route.init).filter { table == nil || $0.table == table }
    }

    /// `replace`: takes the place of one with the same destination, table and metric; without it such a one is an
    /// error (EEXIST).
    public func addRoute(_ route: Route, replace: Bool = false) throws(NetlinkError) {
        try request(
            route.addRequest(replace: replace), "add route \(route.destinationDescription) to table \(route.table)")
    }

    /// False: it was not there.
    @discardableResult
    public func removeRoute(_ route: Route) throws(NetlinkError) -> Bool {
        try change(
            route.removeRequest, unless: [ESRCH, ENODEV],
            "remove route \(route.destinationDescription) from table \(route.table)")
    }

    /// The IPv4 rules.
    public func rules() throws(NetlinkError) -> [Rule] {
        try dump(Rule.listRequest(), "list rules").compactMap(Rule.init)
    }

    /// False: it was there.
    @discardableResult
    public func addRule(_ rule: Rule) throws(NetlinkError) -> Bool {
        try change(rule.addRequest, unless: [EEXIST], "add rule \(rule)")
    }

    /// False: it was not there.
    @discardableResult
    public func removeRule(_ rule: Rule) throws(NetlinkError) -> Bool {
        try change(rule.removeRequest, unless: [ENOENT], "remove rule \(rule)")
    }
}
