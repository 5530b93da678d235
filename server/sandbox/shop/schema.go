package shop

import (
	"fmt"

	"github.com/atoll-live/atoll/space"
)

// Table is one table of the shop: how it is made, and what a Database
// document says of it.
type Table struct {
	Name  string
	DDL   string // may be run again
	Kind  space.TableKind
	Key   string // unit tables
	Reads string // unit tables
}

// Tables are the shop's tables. Those of kind center exist in the center only.
var Tables = []Table{
	{
		Name: "products", Kind: space.TableCenterUnit,
		DDL: `CREATE TABLE IF NOT EXISTS products (
	product_id  VARCHAR(64) NOT NULL PRIMARY KEY,
	name        VARCHAR(128) NOT NULL,
	price_cents BIGINT NOT NULL,
	updated_at  DATETIME(6) NOT NULL
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	},
	{
		Name: "orders", Kind: space.TableUnit, Key: "buyer_id", Reads: space.ReadsOwner,
		DDL: `CREATE TABLE IF NOT EXISTS orders (
	order_id     BIGINT NOT NULL PRIMARY KEY,
	buyer_id     VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	client_id    VARCHAR(64) NOT NULL,
	product_id   VARCHAR(64) NOT NULL,
	qty          INT NOT NULL,
	amount_cents BIGINT NOT NULL,
	status       VARCHAR(16) NOT NULL,
	created_at   DATETIME(6) NOT NULL,
	UNIQUE KEY by_client (buyer_id, client_id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	},
	{
		Name: "payments", Kind: space.TableUnit, Key: "buyer_id", Reads: space.ReadsOwner,
		DDL: `CREATE TABLE IF NOT EXISTS payments (
	order_id     BIGINT NOT NULL PRIMARY KEY,
	buyer_id     VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	amount_cents BIGINT NOT NULL,
	paid_at      DATETIME(6) NOT NULL
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	},
	{
		Name: "notes", Kind: space.TableUnit, Key: "buyer_id", Reads: space.ReadsOwner,
		DDL: `CREATE TABLE IF NOT EXISTS notes (
	buyer_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
	value    BIGINT NOT NULL
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	},
	{
		Name: "baskets", Kind: space.TableUnit, Key: "buyer_id", Reads: space.ReadsOwner,
		DDL: `CREATE TABLE IF NOT EXISTS baskets (
	buyer_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
	items    TEXT NOT NULL
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	},
	{
		Name: "stock", Kind: space.TableCenter,
		DDL: `CREATE TABLE IF NOT EXISTS stock (
	product_id VARCHAR(64) NOT NULL PRIMARY KEY,
	qty        BIGINT NOT NULL
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	},
	{
		Name: "stock_entries", Kind: space.TableCenter,
		DDL: `CREATE TABLE IF NOT EXISTS stock_entries (
	order_id   BIGINT NOT NULL PRIMARY KEY,
	product_id VARCHAR(64) NOT NULL,
	qty        INT NOT NULL
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	},
}

// DocumentTables are the tables as a Database document lists them.
func DocumentTables() []space.Table {
	var list []space.Table
	for _, t := range Tables {
		list = append(list, space.Table{Name: t.Name, Kind: t.Kind, Key: t.Key, Reads: t.Reads})
	}
	return list
}

// Statements make the tables that a unit's database has.
func Statements(center bool) []string {
	var list []string
	for _, t := range Tables {
		if center || t.Kind != space.TableCenter {
			list = append(list, t.DDL)
		}
	}
	return list
}

// Product is what the shop sells.
type Product struct {
	ID         string
	Name       string
	PriceCents int64 // at first; the center changes it all the time
}

// InitialStock is how much of each product the center begins with.
const InitialStock = 1_000_000

// Products is the assortment. The center's application puts it into products
// and stock, through its proxy, when it starts.
var Products = assortment()

func assortment() []Product {
	names := []string{"anchor", "beacon", "buoy", "compass", "coral", "dinghy", "flippers", "hammock", "harpoon", "kelp",
		"lantern", "lighthouse", "mango", "mask", "oar", "palm", "pearl", "sail", "shell", "snorkel"}
	list := make([]Product, len(names))
	for i, n := range names {
		list[i] = Product{ID: fmt.Sprintf("p%02d", i+1), Name: n, PriceCents: int64(500 + 137*i)}
	}
	return list
}

// ProductIDs are the ids of the assortment.
func ProductIDs() []string {
	ids := make([]string, len(Products))
	for i, p := range Products {
		ids[i] = p.ID
	}
	return ids
}
